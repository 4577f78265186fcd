"""A limit of the memory that a library may take while it reads a file.

A damaged header can ask for any number of bytes, and a library in C++ fills them with zeros before it finds that the
file has fewer. Below the limit the kernel refuses them, which is an error of the library as any other.
"""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def more_memory(size: int) -> Iterator[None]:
    """Let this process map at most `size` more bytes in the body, its other threads too; no limit outside Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + size
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

"""What the fuzz tests share: their examples, the limit of memory, and what a reader may answer.

The examples are the same in every run. To try more of them:
VITRINE_FUZZ_EXAMPLES=2000 python -m pytest tests/pipeline/test_fuzzed_inputs.py tests/pipeline/test_fuzzed_artefacts.py
"""

import os
import re
import warnings
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from mangled import mangled

EXAMPLES = int(os.environ.get("VITRINE_FUZZ_EXAMPLES", "25"))
MAX_MEMORY = 10**9


def fuzzed(share=1.0):
    """Return the settings of a test with a share of the examples, for readers that take long."""
    return settings(
        max_examples=max(1, int(share * EXAMPLES)),
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


FUZZED = fuzzed()


def peak_memory():
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))[1]) * 1024


def check_line(read, file, root):
    """`read` returns, or raises one line with the name of the file or of a folder above it."""
    with warnings.catch_warnings(action="ignore"):  # of decoders, about odd metadata
        try:
            read()
        except (ValueError, OSError) as error:
            message = str(error)
            assert "\n" not in message, message
            assert file.name in message or str(root) in message, message


def check_file(file, read, root=None, share=1.0):
    """Mangle a file in many ways; each time `read` returns or raises one line, and little memory is used."""
    sound, before = file.read_bytes(), peak_memory()

    @fuzzed(share)
    @given(data=mangled([sound]))
    def check(data):
        file.write_bytes(data)
        check_line(read, file, root or file.parent)

    read()
    check()
    assert peak_memory() - before < MAX_MEMORY

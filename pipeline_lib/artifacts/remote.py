"""Files of a folder here or at a URL (s3://bucket/folder): read whole, by ranges, or copied here first.

A connection must not be shared with a forked process. fsspec keeps one for each process and protocol, so nothing here
holds any: a filesystem is asked for at every read, which costs microseconds where the answer takes milliseconds.
"""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

from pipeline_lib.artifacts.digests import digest_value

# A folder or file here, or the URL of one.
Place = Path | str


def is_url(place: Place) -> TypeGuard[str]:
    """Tell a URL from a folder here.

    >>> is_url("s3://bucket/shards"), is_url(Path("data/work/shards"))
    (True, False)
    """
    return isinstance(place, str) and "://" in place


def inside(place: Place, name: str) -> Place:
    """Return what is called `name` in a place.

    >>> inside("s3://bucket/shards/", "shard-00000.tar")
    's3://bucket/shards/shard-00000.tar'
    """
    return f"{place.rstrip('/')}/{name}" if is_url(place) else Path(place) / name


def copy_of(folder: Path, url: str | None, names: Sequence[str]) -> Place:
    """Return the place to read `folder` from: itself, or `url` if its files `names` are byte for byte the same.

    Raises ValueError where they differ or one is missing, OSError where the URL cannot be reached.
    """
    if url is None:
        return folder
    for name in names:
        own, other = folder / name, inside(url, name)
        if not own.is_file():
            raise ValueError(f"{own}: no such file, so {other} cannot be held to it; `dvc pull {own}` brings it")
        if own.read_bytes() != read_file(other):
            raise ValueError(f"{other}: not the same as {own}; copy {folder} there again, or set its URL to null")
    return url


def read_file(place: Place) -> bytes:
    """Return all bytes of a file; ValueError if there is none, OSError if it cannot be reached."""
    if not is_url(place):
        return Path(place).read_bytes()
    with _reached(place) as (system, path):
        data: bytes = system.cat_file(path)
    return data


def read_ranges(urls: Sequence[str], starts: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
    """Return `sizes[i]` bytes of `urls[i]` from `starts[i]` on, fewer where the file ends; asked for all at once.

    The URLs must be of one protocol. Raises as `read_file`.
    """
    if not urls:
        return []
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    with _reached(urls[0]) as (system, _):
        found = system.cat_ranges([system._strip_protocol(url) for url in urls], list(starts), ends)
    for url, data in zip(urls, found, strict=True):
        if isinstance(data, BaseException):
            with _reached(url):
                raise data
    return list(found)


def sizes_at(url: str) -> dict[str, int]:
    """Return the size in bytes of each file right under a URL, by name; raises as `read_file`."""
    return {name: int(entry["size"]) for name, entry in _listed(url).items()}


def local_folder(place: Place, copies: Path) -> Path:
    """Return a folder as it is, and one at a URL as a copy under `copies`, which is made once and shared.

    The copy's name says what lies at the URL (each file's size and mark of change), so a changed folder is copied anew.
    Raises as `read_file`.
    """
    if not is_url(place):
        return Path(place)
    listed = _listed(place)
    if not listed:
        raise ValueError(f"{place}: nothing there; copy the folder of that name there, or set its URL to null")
    with _reached(place) as (system, path):
        marks = [(name, entry["size"], system.ukey(entry["name"])) for name, entry in sorted(listed.items())]
        target = copies / f"{Path(path).name}-{digest_value([place, marks])}"
        if target.is_dir():
            return target
        half = copies / f".{target.name}.{uuid.uuid4().hex}.part"
        half.mkdir(parents=True)
        for name, entry in listed.items():
            system.get_file(entry["name"], str(half / name))
    try:
        half.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster, with the same bytes
            raise
        shutil.rmtree(half)
    return target


def _listed(url: str) -> dict[str, dict[str, Any]]:
    with _reached(url) as (system, path):
        system.invalidate_cache(path)
        entries = system.ls(path, detail=True)
        # An object of the folder's own name is how some programs mark a folder.
        files = [entry for entry in entries if entry["type"] == "file" and entry["name"].strip("/") != path.strip("/")]
        return {entry["name"].rpartition("/")[2]: entry for entry in files}


@contextmanager
def _reached(url: str) -> Iterator[tuple[Any, str]]:
    """Yield the URL's filesystem and path in it; whatever its library raises becomes one line that names the URL."""
    from fsspec.core import url_to_fs

    try:
        yield url_to_fs(url)
    except FileNotFoundError:
        raise ValueError(f"{url}: nothing there; copy the folder of that name there, or set its URL to null") from None
    except ImportError as error:
        protocol = url.partition("://")[0]
        way_out = "pip install 'vitrine[s3]'" if protocol == "s3" else _one_line(error)
        raise ValueError(f"{url}: the library for {protocol}:// is not installed: {way_out}") from None
    except Exception as error:  # every protocol's library raises a kind of its own
        refused = isinstance(error, PermissionError) or "Credentials" in type(error).__name__
        way_out = "; set the credentials that its library reads, e.g. AWS_PROFILE" if refused else ""
        raise OSError(f"{url}: cannot be read: {type(error).__name__}: {_one_line(error)}{way_out}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]

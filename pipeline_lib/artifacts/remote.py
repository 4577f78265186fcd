"""Reads files of a local folder or of a URL (s3://bucket/folder): complete files, byte ranges, or a local copy.

A forked process must not share a connection. fsspec caches one filesystem per process and protocol, so this module
stores none and requests it for every read. That costs microseconds, where the answer takes milliseconds.
"""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from pipeline_lib.artifacts.digests import digest_value

# A local folder or file, or the URL of one.
Location = Path | str
# Ranges of one file with at most so many bytes between them are read by one request, up to the second number of bytes.
MAX_GAP, MAX_REQUEST = 1 << 16, 8 << 20


@dataclass
class _Request:
    """A range of bytes of a file at a URL, and the places of the asked ranges that it holds."""

    url: str
    start: int
    end: int
    places: list[int]


def is_url(location: Location) -> TypeGuard[str]:
    """Return whether a location is a URL.

    >>> is_url("s3://bucket/shards"), is_url(Path("data/work/shards"))
    (True, False)
    """
    return isinstance(location, str) and "://" in location


def join_location(location: Location, name: str) -> Location:
    """Return the location of `name` in a folder.

    >>> join_location("s3://bucket/shards/", "shard-00000.tar")
    's3://bucket/shards/shard-00000.tar'
    """
    return f"{location.rstrip('/')}/{name}" if is_url(location) else Path(location) / name


def verified_location(folder: Path, url: str | None, names: Sequence[str]) -> Location:
    """Return the location to read `folder` from: `folder` itself, or `url` if the files `names` are identical there.

    Raises ValueError if a file differs or is missing, OSError if the URL cannot be read.
    """
    if url is None:
        return folder
    for name in names:
        local, remote = folder / name, join_location(url, name)
        if not local.is_file():
            raise ValueError(f"{local}: no such file to compare {remote} with; run `dvc pull {local}`")
        if local.read_bytes() != read_file(remote):
            raise ValueError(f"{remote}: differs from {local}; copy {folder} there again, or set its URL to null")
    return url


def read_file(location: Location) -> bytes:
    """Return the bytes of a file; ValueError if a URL has no such file, OSError if it cannot be read."""
    if not is_url(location):
        return Path(location).read_bytes()
    with _open_url(location) as (system, path):
        data: bytes = system.cat_file(path)
    return data


def read_ranges(urls: Sequence[str], starts: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
    """Return `sizes[i]` bytes of `urls[i]` from `starts[i]` on, or fewer at the end of a file.

    Neighbours in a file share a request, so a pass in the order of the file needs few. The URLs must have the same
    protocol. All requests run concurrently. Raises the same errors as `read_file`.
    """
    if not urls:
        return []
    requests = _requests(urls, starts, sizes)
    with _open_url(urls[0]) as (system, _):
        paths = [system._strip_protocol(request.url) for request in requests]
        found = system.cat_ranges(paths, [one.start for one in requests], [one.end for one in requests])
    parts = [b""] * len(urls)
    for request, data in zip(requests, found, strict=True):
        if isinstance(data, BaseException):
            with _open_url(request.url):
                raise data
        for place in request.places:
            first = starts[place] - request.start
            parts[place] = bytes(data[first : first + sizes[place]])
    return parts


def _requests(urls: Sequence[str], starts: Sequence[int], sizes: Sequence[int]) -> list[_Request]:
    """Return the requests that cover all ranges, by file and position."""
    found: list[_Request] = []
    for place in sorted(range(len(urls)), key=lambda place: (urls[place], starts[place])):
        start, end = starts[place], starts[place] + sizes[place]
        last = found[-1] if found and found[-1].url == urls[place] else None
        if last is None or start > last.end + MAX_GAP or end > last.start + MAX_REQUEST:
            found.append(_Request(urls[place], start, end, [place]))
        else:
            last.end = max(last.end, end)
            last.places.append(place)
    return found


def list_sizes(url: str) -> dict[str, int]:
    """Return name -> size in bytes of the files of a folder at a URL; raises the same errors as `read_file`."""
    return {name: int(entry["size"]) for name, entry in _list_files(url).items()}


def local_folder(location: Location, copies: Path) -> Path:
    """Return a local folder unchanged; copy a folder at a URL once to `copies` and return the copy.

    The name of the copy is a hash of each file's entry in the listing of the URL (size, time, ETag, ...), so a changed
    folder is copied again. Raises the same errors as `read_file`.
    """
    if not is_url(location):
        return Path(location)
    files = _list_files(location)
    if not files:
        raise ValueError(f"{location}: nothing there; copy the folder of that name there, or set its URL to null")
    with _open_url(location) as (system, path):
        # Not `ukey`: another thread may empty the cache of listings, and the hash of a request for one file is another.
        versions = [(name, sorted((key, str(value)) for key, value in files[name].items())) for name in sorted(files)]
        target = copies / f"{Path(path).name}-{digest_value([location, versions])}"
        if target.is_dir():
            return target
        part = copies / f".{target.name}.{uuid.uuid4().hex}.part"
        part.mkdir(parents=True)
        for name, entry in files.items():
            system.get_file(entry["name"], str(part / name))
    try:
        part.rename(target)
    except OSError:
        if not target.is_dir():  # otherwise another process has just copied the same bytes
            raise
        shutil.rmtree(part)
    return target


def _list_files(url: str) -> dict[str, dict[str, Any]]:
    with _open_url(url) as (system, path):
        system.invalidate_cache(path)
        entries = system.ls(path, detail=True)
        # Some programs mark a folder by an empty object of the folder's own name.
        files = [entry for entry in entries if entry["type"] == "file" and entry["name"].strip("/") != path.strip("/")]
        return {entry["name"].rpartition("/")[2]: entry for entry in files}


@contextmanager
def _open_url(url: str) -> Iterator[tuple[Any, str]]:
    """Yield the filesystem of a URL and the path in it; any error of its library becomes one line with the URL."""
    from fsspec.core import url_to_fs

    try:
        yield url_to_fs(url)
    except FileNotFoundError:
        raise ValueError(f"{url}: nothing there; copy the folder of that name there, or set its URL to null") from None
    except ImportError as error:
        protocol = url.partition("://")[0]
        way_out = "pip install 'vitrine[s3]'" if protocol == "s3" else _one_line(error)
        raise ValueError(f"{url}: the library for {protocol}:// is not installed: {way_out}") from None
    except Exception as error:  # each protocol's library raises its own types
        refused = isinstance(error, PermissionError) or "Credentials" in type(error).__name__
        way_out = "; set the credentials that its library reads, e.g. AWS_PROFILE" if refused else ""
        raise OSError(f"{url}: cannot be read: {type(error).__name__}: {_one_line(error)}{way_out}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]

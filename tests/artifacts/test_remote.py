"""Locations on disk and at URLs; an error is one line that names the URL and what to do."""

import random
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline_lib.artifacts.remote import list_sizes, local_folder, read_file, read_ranges, verified_location


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, size in (("a", 10), ("b", 300_000), ("c", 0)):
        (folder / name).write_bytes(bytes(number % 251 for number in range(size)))
    return folder


def test_ranges_equal_slices(folder, s3):
    url = s3(folder)
    assert list_sizes(url) == {"a": 10, "b": 300_000, "c": 0}
    content = (folder / "b").read_bytes()
    assert read_file(f"{url}/b") == read_file(folder / "b") == content
    ranges = [(0, 5), (299_990, 50), (100_000, 1), (17, 200_000)]
    parts = read_ranges([f"{url}/b"] * 4, [start for start, _ in ranges], [size for _, size in ranges])
    assert parts == [content[start : start + size] for start, size in ranges]
    assert read_ranges([], [], []) == []


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, int, int]]:
    """The requests (path, start, end) of files in memory."""
    from fsspec.implementations.memory import MemoryFileSystem

    found, cat_ranges = [], MemoryFileSystem.cat_ranges

    def recorded(self, paths, starts, ends, **options):
        found.extend(zip(paths, starts, ends, strict=True))
        return cat_ranges(self, paths, starts, ends, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_ranges", recorded)
    return found


def test_photos_in_the_order_of_a_tar_share_a_request(asked):
    import fsspec

    content = bytes(number % 251 for number in range(400_000))
    with fsspec.open("memory://bucket/0.tar", "wb") as stream:
        stream.write(content)
    # A header, a JSON member and a photo of 5,000 bytes, as in a shard.
    starts = list(range(1_536, 390_000, 7_000))
    parts = read_ranges(["memory://bucket/0.tar"] * len(starts), starts, [5_000] * len(starts))
    assert parts == [content[start : start + 5_000] for start in starts]
    assert asked == [("/bucket/0.tar", 1_536, starts[-1] + 5_000)]


@pytest.mark.parametrize("seed", range(20))
def test_ranges_in_any_order_are_covered_by_requests_of_limited_size(asked, monkeypatch, seed):
    import fsspec

    from pipeline_lib.artifacts import remote

    monkeypatch.setattr(remote, "MAX_GAP", 50)
    monkeypatch.setattr(remote, "MAX_REQUEST", 400)
    draw, contents = random.Random(seed), {}
    for name in ("a", "b"):
        contents[f"memory://bucket{seed}/{name}"] = draw.randbytes(2_000)
        with fsspec.open(f"memory://bucket{seed}/{name}", "wb") as stream:
            stream.write(contents[f"memory://bucket{seed}/{name}"])
    asks = [(draw.choice(list(contents)), draw.randrange(1_900), draw.randrange(1, 90)) for _ in range(60)]
    parts = read_ranges(*map(list, zip(*asks, strict=True)))
    assert parts == [contents[url][start : start + size] for url, start, size in asks]
    assert len(asked) < len(asks) and all(end - start <= 400 for _, start, end in asked)


def test_a_folder_is_copied_once_and_again_after_a_change_at_the_url(folder, s3, tmp_path):
    import s3fs

    url, copies = s3(folder), tmp_path / "copies"
    assert local_folder(folder, copies) == folder and not copies.exists()
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: local_folder(url, copies), range(4)))
    (first,) = folders
    assert [path.name for path in copies.iterdir()] == [first.name]
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    before = (first / "b").stat().st_mtime_ns
    assert local_folder(url, copies) == first and (first / "b").stat().st_mtime_ns == before
    s3fs.S3FileSystem().pipe_file(f"{url}/a", b"0123456789")
    second = local_folder(url, copies)
    assert second != first and (second / "a").read_bytes() == b"0123456789"


def test_the_copy_of_a_folder_has_one_name_although_another_thread_empties_the_cache_of_listings(
    folder, s3, tmp_path, monkeypatch
):
    import s3fs

    from pipeline_lib.artifacts import remote

    url, copies, list_files = s3(folder), tmp_path / "copies", remote._list_files
    first = local_folder(url, copies)

    def listed_and_emptied(url: str) -> dict[str, dict]:
        found = list_files(url)
        s3fs.S3FileSystem().invalidate_cache()
        return found

    monkeypatch.setattr(remote, "_list_files", listed_and_emptied)
    assert local_folder(url, copies) == first


def test_a_url_must_have_identical_files(folder, s3, tmp_path):
    url = s3(folder)
    assert verified_location(folder, None, ["missing"]) == folder
    assert verified_location(folder, url, ["a", "b"]) == url
    changed = Path(shutil.copytree(folder, tmp_path / "changed"))
    (changed / "b").write_bytes(b"other")
    assert verified_location(changed, url, ["a"]) == url
    with pytest.raises(ValueError, match=f"{url}/b: differs from {changed}/b"):
        verified_location(changed, url, ["a", "b"])


def test_a_missing_file_is_named(folder, s3, tmp_path):
    url = s3(folder)
    for read in (
        lambda: read_file(f"{url}/d"),
        lambda: read_ranges([f"{url}/a", f"{url}/d"], [0, 0], [1, 1]),
        lambda: local_folder(f"{url}/d", tmp_path / "copies"),
    ):
        with pytest.raises(ValueError, match=rf"{url}/d: nothing there; copy") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_missing_credentials_an_unreachable_server_and_a_missing_library_are_one_line_each(folder, s3, monkeypatch):
    import s3fs

    url = s3(folder)
    with monkeypatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
        patch.setenv("AWS_CONFIG_FILE", "none")
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(OSError, match=rf"{url}/a: cannot be read: NoCredentialsError: .*; set the cred") as caught:
            read_file(f"{url}/a")
        assert "\n" not in str(caught.value)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        s3fs.S3FileSystem.clear_instance_cache()
        patch.setattr(s3fs.S3FileSystem, "retries", 1)
        with pytest.raises(OSError, match=rf"{url}/a: cannot be read: EndpointConnectionError"):
            read_file(f"{url}/a")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "s3fs", None)
        patch.delitem(sys.modules["fsspec.registry"]._registry, "s3")
        with pytest.raises(ValueError, match=r"s3:// is not installed: pip install 'vitrine\[s3\]'"):
            read_file(f"{url}/a")
    with pytest.raises(OSError, match="nowhere://x: cannot be read: ValueError: Protocol not known"):
        read_file("nowhere://x")

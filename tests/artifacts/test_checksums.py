"""The checksum of a file finds every kind of damage that a disk does, and does not depend on how it is read."""

import io
import zlib

import numpy as np
import pytest
from damages import BYTES
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.artifacts import checksums
from pipeline_lib.artifacts.checksums import PAGE, check_sum, checksum


def slow(data):
    """The definition: the sums of 512 words of each page, and the bytes after the last page."""
    total = 0
    for start in range(0, len(data) // PAGE * PAGE, PAGE):
        words = [int.from_bytes(data[at : at + 8], "little") for at in range(start, start + PAGE, 8)]
        total = zlib.crc32((sum(words) % 2**64).to_bytes(8, "little"), total)
    return f"{zlib.crc32(data[len(data) // PAGE * PAGE :], total):08x}"


@settings(max_examples=30, derandomize=True)
@given(size=st.integers(0, 5 * PAGE), pages=st.integers(1, 3), seed=st.integers(0, 9))
def test_it_equals_the_slow_definition(tmp_path_factory, size, pages, seed):
    path = tmp_path_factory.mktemp("checksum") / "x"
    data = np.random.default_rng(seed).bytes(size)
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checksums, "BUFFER", pages * PAGE)
        assert checksum(path) == slow(data)


def test_it_does_not_depend_on_how_much_a_folder_gives_at_a_time(tmp_path, monkeypatch):
    """A network folder may answer a read with less than was asked for."""
    path, data = tmp_path / "x", np.random.default_rng(0).bytes(40 * PAGE + 17)
    path.write_bytes(data)

    class Slow(io.FileIO):
        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:5000])

    def opened(self, mode="rb", buffering=-1):
        raw = Slow(self, "rb")
        return raw if buffering == 0 else io.BufferedReader(raw, 8192)

    monkeypatch.setattr(type(path), "open", opened)
    assert checksum(path) == slow(data)


DAMAGES = BYTES | {
    "one bit": lambda data: data[:70_000] + bytes([data[70_000] ^ 1]) + data[70_001:],
    "a page of zeros": lambda data: data[:PAGE] + bytes(PAGE) + data[2 * PAGE :],
    "two pages exchanged": lambda data: data[PAGE : 2 * PAGE] + data[:PAGE] + data[2 * PAGE :],
    "cut at a page": lambda data: data[: 3 * PAGE],
    "a byte more": lambda data: data + b"\0",
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_found(tmp_path, kind):
    path, data = tmp_path / "x", np.random.default_rng(0).bytes(40 * PAGE + 17)
    path.write_bytes(data)
    written = checksum(path)
    check_sum(path, written)
    path.write_bytes(DAMAGES[kind](data))
    with pytest.raises(ValueError, match=rf"x: damaged, .*its checksum is \w+, it was written with {written}"):
        check_sum(path, written)

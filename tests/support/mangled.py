"""Bytes of a sound file, mangled as disks, downloads and editors do it: cut, zeroed, flipped, repeated, other words."""

from collections.abc import Sequence

from hypothesis import strategies as st

# Parts of files that readers take as numbers, lengths, nesting and names.
WORDS = (
    b"", b"\0", b"\xff" * 4, b"\xff\xff\xff\x7f", b"-1", b"0", b"1e999", b"NaN", b"null", b"true", b"[", b"{", b"}",
    b"[[[[" * 50, b'"', b"'", b",", b";", b"\t", b"\n", b"\r", b"\r\n" * 3, b"\\ud800", b"\\u0000", b"../../x", b"a\0b",
    b"=1+1", b"\xef\xbb\xbf", b"\xc3", "商品".encode(), b"9" * 30, b"x" * 3000, b": ", b"- ", b"&a *a", b"!!python/x",
)  # fmt: skip


@st.composite
def mangled(draw: st.DrawFn, sound: Sequence[bytes]) -> bytes:
    """Return one of some sound files after one to four changes."""
    data = draw(st.sampled_from(list(sound)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, max(1, len(data) // 4))))
        change = draw(st.sampled_from(("cut", "drop", "zero", "flip", "word", "repeat", "noise")))
        if change == "cut":
            data = data[:start]
        elif change == "drop":
            data = data[:start] + data[end:]
        elif change == "zero":
            data = data[:start] + bytes(end - start) + data[end:]
        elif change == "flip" and start < len(data):
            data = data[:start] + bytes([data[start] ^ (1 << draw(st.integers(0, 7)))]) + data[start + 1 :]
        elif change == "word":
            data = data[:start] + draw(st.sampled_from(WORDS)) + data[min(end, start + 8) :]
        elif change == "repeat":
            data = data[:end] + data[start:]
        elif change == "noise":
            data = data[:start] + draw(st.binary(max_size=16)) + data[start:]
    return data

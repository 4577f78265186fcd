"""One table of damages for every test that damages a file: as disks, downloads and editors do it, and other versions.

`damages` gives those of a file: of its bytes, and of what a JSON, YAML or Parquet file says.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

Change = Callable[[bytes], bytes]


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def empty(_: bytes) -> bytes:
    return b""


def zeros(data: bytes) -> bytes:
    return bytes(len(data))


def flipped(place: float) -> Change:
    """Return the change of one byte at a place between 0, the first byte, and 1."""
    return lambda data: data[: (at := int(place * (len(data) - 1)))] + bytes([data[at] ^ 0x41]) + data[at + 1 :]


# What no reader of tables, JSON, weights or tars takes for sound.
GROSS: dict[str, Change] = {
    "cut to half": half,
    "empty": empty,
    "zeroed": zeros,
    "another file": lambda data: b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
}
BYTES: dict[str, Change] = GROSS | {
    "without its last byte": lambda data: data[:-1],
    "first byte flipped": flipped(0),
    "tenth byte flipped": lambda data: data[:9] + bytes([data[9] ^ 0x41]) + data[10:] if len(data) > 9 else data,
    "middle flipped": flipped(0.5),
    "last byte flipped": flipped(1),
}


def of_another_shape(value: dict[str, Any]) -> Iterator[Any]:
    """Yield JSON values of another shape than an object: each part is missing or has another type."""
    yield [value]
    yield "text"
    yield None
    for key in value:
        yield {name: part for name, part in value.items() if name != key}
        yield value | {key: 3.5 if not isinstance(value[key], float) else []}
        yield value | {key: None}


def _tables(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield tables without a column, with another type in it, and one that has nothing in common."""
    frame = pl.read_parquet(io.BytesIO(data))
    others = {"another table": pl.DataFrame({"x": [1]})}
    for name, kind in frame.schema.items():
        wrong = pl.lit("x") if kind != pl.String else pl.lit(7)
        others[f"without {name}"] = frame.drop(name)
        others[f"{name} of another type"] = frame.with_columns(wrong.alias(name))
    for name, other in others.items():
        stream = io.BytesIO()
        other.write_parquet(stream)
        yield name, stream.getvalue()


def damages(file: Path, changes: dict[str, Change] = BYTES, shapes: bool = True) -> list[tuple[str, bytes]]:
    """Return the name of each damage and the damaged content of a file, which stays as it is."""
    data = file.read_bytes()
    found = [(name, change(data)) for name, change in changes.items() if change(data) != data]
    if shapes and file.suffix == ".json" and isinstance(value := json.loads(data), dict):
        found += [(str(other)[:60], json.dumps(other).encode()) for other in of_another_shape(value)]
    if shapes and file.suffix == ".json" and isinstance(value, list):
        found += [(str(other), json.dumps(other).encode()) for other in ({"a": value}, [[3]], None)]
    if shapes and file.suffix == ".parquet":
        found += _tables(data)
    return found


def refused_damages(
    files: Iterable[Path], read: Callable[[], Any], changes: dict[str, Change] = BYTES, names: Sequence[str] = ()
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Damage each file in each way and read; return what was refused and what was read: (file, damage).

    A refusal is one line with the file's name, its folder, or one of `names`; any other error is the test's. A file
    that passes with every damage of GROSS is one that nothing reads: no other is tried.
    """
    refused, accepted = set(), set()
    read()
    for file in files:
        sound = file.read_bytes()
        file.chmod(0o644)
        gross, others = [], []
        for damage, data in damages(file, changes):
            (gross if damage in GROSS else others).append((damage, data))
        found = {damage: _refused(file, damage, data, read, names) for damage, data in gross}
        if len(found) < len(GROSS) or any(found.values()):
            found |= {damage: _refused(file, damage, data, read, names) for damage, data in others}
        for damage, is_refused in found.items():
            (refused if is_refused else accepted).add((file.name, damage))
        file.write_bytes(sound)
    read()
    return refused, accepted


def _refused(file: Path, damage: str, data: bytes, read: Callable[[], Any], names: Sequence[str]) -> bool:
    """Return whether the file with this content is refused in one line; AssertionError if it is in another way."""
    file.write_bytes(data)
    try:
        read()
    except (ValueError, OSError) as error:
        line = str(error)
        known = (file.name, str(file.parent), *names)
        assert "\n" not in line and any(name in line for name in known), (file, damage, line)
        return True
    except BaseException as error:
        raise AssertionError(f"{file}, {damage}: {error!r}") from error
    return False

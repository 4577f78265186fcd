"""Tensors of .safetensors files that are read one by one, when they are asked for.

A tower's weights are hashed in every stage that resolves it, and held only where it runs: a hash of these tensors has
one of them in memory at a time, and a stage that reads stored features of the tower never holds its weights.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

Tensors = Mapping[str, Tensor]
# Bytes of an open file that are read before it is closed.
PAGES_BYTES = 16 << 20


@dataclass
class _Opened:
    """An open file in the state that was noted, and how many bytes of it were read."""

    path: Path
    state: tuple[int, ...]
    file: Any
    read: int = 0


_thread = threading.local()


@dataclass(frozen=True, eq=False)
class FileTensors(Mapping[str, Tensor]):
    """Tensors by name: `places` has the file and key of each; with `as_float32` decimals are converted on reading.

    A file that has changed since `states` was noted is a ValueError, because its hash would be that of other weights.
    """

    places: Mapping[str, tuple[Path, str]]
    states: Mapping[Path, tuple[int, ...]]
    as_float32: bool = False

    @classmethod
    def of(cls, paths: Iterable[Path], as_float32: bool = False) -> "FileTensors":
        """Return all tensors of files by their keys; ValueError if one is truncated or not such a file."""
        places: dict[str, tuple[Path, str]] = {}
        states = {}
        for path in paths:
            states[path] = _state(path)
            try:
                with safe_open(path, "pt") as file:
                    places |= {key: (path, key) for key in file.keys()}  # noqa: SIM118  (not a dict)
            except SafetensorError as error:
                raise ValueError(
                    f"{path}: not a complete .safetensors file ({error}); download or create it again"
                ) from error
        return cls(places, states, as_float32)

    def __getitem__(self, name: str) -> Tensor:
        path, key = self.places[name]
        if _state(path) != self.states[path]:
            raise ValueError(f"{path}: changed while this stage was running; start it again")
        value = _read(path, self.states[path], key)
        return value.float() if self.as_float32 and value.is_floating_point() else value

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def keys_in_file(self) -> dict[str, str]:
        """Return the key of each tensor in its file."""
        return {name: key for name, (_, key) in self.places.items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor, from the headers of the files."""
        found: dict[str, tuple[int, ...]] = {}
        for path in self.states:
            with safe_open(path, "pt") as file:
                own = {name: key for name, (place, key) in self.places.items() if place == path}
                found |= {name: tuple(file.get_slice(key).get_shape()) for name, key in own.items()}
        return found

    def fit(self, module: nn.Module) -> bool:
        """Return whether these are the tensors of a module, all of them and no other, in the same shapes."""
        return self.shapes() == {name: tuple(value.shape) for name, value in module.state_dict().items()}


@overload
def rename_tensors(tensors: FileTensors, names: Mapping[str, str]) -> FileTensors: ...
@overload
def rename_tensors(tensors: Tensors, names: Mapping[str, str]) -> Tensors: ...
def rename_tensors(tensors: Tensors, names: Mapping[str, str]) -> Tensors:
    """Return the tensors of `names`, new name -> present one, and no other; those of files are not read."""
    if isinstance(tensors, FileTensors):
        places = {new: tensors.places[old] for new, old in names.items()}
        return FileTensors(places, tensors.states, tensors.as_float32)
    return {new: tensors[old] for new, old in names.items()}


def with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    """Return all tensors with a prefix before their names."""
    return rename_tensors(tensors, {f"{prefix}{name}": name for name in tensors})


def _read(path: Path, state: tuple[int, ...], key: str) -> Tensor:
    """Return a tensor of the file that this thread read last, or open another one.

    To open a file is to parse its whole header. Its pages are given back only when it is closed, so it is opened anew
    after PAGES_BYTES.
    """
    last: _Opened | None = getattr(_thread, "last", None)
    if last is None or (last.path, last.state) != (path, state) or last.read > PAGES_BYTES:
        _thread.last = None  # closed before the next one is opened
        last = _thread.last = _Opened(path, state, safe_open(path, "pt"))
    value: Tensor = last.file.get_tensor(key)
    last.read += value.nbytes
    return value


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns

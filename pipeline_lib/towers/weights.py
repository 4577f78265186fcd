"""Tensors of a module by name: reading them from a file, loading them without a gap, and their identity.

A tensor that a module has under several names (CoaT's position encodings) counts once, under its first name. So it is
saved, loaded, interpolated and hashed once, and a file that has it under all its names is read as well.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline_lib.artifacts.digest_cache import FILE as DIGESTS
from pipeline_lib.artifacts.digest_cache import stored_digests
from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.artifacts.path_guard import check_beside
from pipeline_lib.artifacts.paths import project_root
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.towers.file_tensors import FileTensors, Tensors, rename_tensors

State = dict[str, Tensor]
# Names the hash of `_hash_values` among stored ones: another definition needs another name.
VALUES = "values 1"


def read_weights(path: str | Path) -> State:
    """Return the tensors of a .safetensors file; ValueError if it is truncated or not such a file."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete .safetensors file ({error}); download or create it again") from error


def index_parts(index: Path, is_used: Callable[[str], bool]) -> list[str]:
    """Return the names of the files in an index of weights that hold a used tensor, sorted.

    ValueError for a damaged index, and for a name of a file that is not beside it.
    """
    places = read_object(index, weight_map=dict)["weight_map"]
    used = {file for key, file in places.items() if is_used(key)}
    check_beside(index, used)
    return sorted(used)


def unique_state(module: nn.Module) -> State:
    """Return the state dict with each tensor under its first name only."""
    repeated = further_names(module)
    return {name: value for name, value in module.state_dict().items() if name not in repeated}


def further_names(module: nn.Module) -> dict[str, str]:
    """Return the further names of tensors that a module has under several names -> their first name."""
    first: dict[int, str] = {}
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    names = {name: first.setdefault(id(value), name) for name, value in named}
    return {name: original for name, original in names.items() if name != original}


def with_first_names(module: nn.Module, state: Tensors) -> State:
    """Return the tensors of `state` by the names that `unique_state` has; the first name's value wins."""
    return dict(first_named(state, further_names(module)))


def first_named(state: Tensors, further: Mapping[str, str]) -> Tensors:
    """Return tensors without their `further` names, of which `further_names` has the first; those of files stay there.

    The first name's value wins.
    """
    if not further:
        return state
    others = {further[name]: name for name in state if name in further}
    return rename_tensors(state, others | {name: name for name in state if name not in further})


def load_strictly(tower: nn.Module, state: Tensors, origin: str, new: tuple[str, ...] = ()) -> None:
    """Load weights, in the tower's dtype, into all parts of a tower except the `new` ones.

    ValueError names missing and unknown parameters and those of another shape.
    """
    # Read once, if they are in a file.
    state = with_first_names(tower, dict(state))
    own = {name: value for name, value in unique_state(tower).items() if not name.startswith(new)}
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in sorted(own.keys() & state.keys())
        if own[name].shape != state[name].shape
    ]
    faults = [
        f"{len(names)} {fault}, e.g. {names[0]}"
        for names, fault in ((missing, "missing"), (unknown, "unknown"), (shapes, "of another shape"))
        if names
    ]
    if faults:
        raise ValueError(f"{origin}: the weights do not fit {type(tower).__name__}: {'; '.join(faults)}")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(state[name])


def weights_hash(state: Tensors | None) -> str | None:
    """Return a hash of the values, independent of their file; None for random weights.

    Of tensors in a file, one at a time is in memory, and none is read if their hash is stored.
    """
    if state is None:
        return None
    if isinstance(state, FileTensors) and len(state.states) == 1:
        with stored_digests(project_root() / DIGESTS) as digests:
            kind = digest_value([VALUES, state.keys_in_file(), state.as_float32])
            return digests.digest(next(iter(state.states)), kind, lambda _: _hash_values(state)).hex()
    return _hash_values(state).hex()


def _hash_values(state: Tensors) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.flatten().numpy().data)
    return digest.digest()[:8]

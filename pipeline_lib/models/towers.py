"""The one face of every tower: an ordered list of layer groups, a description to rebuild it from, and a forward pass.

A tower is resolved from params into a `TowerSource` (what it is, and where its weights are), built from the source's
description alone, and then filled. So a trained model is rebuilt from its own file without the weights it began with.

A forward pass is also told as a list of steps, so that it can be left off before a layer group and taken up there
again: what stands before the first group that is trained need not be run more than once.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.batch import LayerGroup

Description = dict[str, Any]
# Groups of a tower as (name, its modules and parameters), stem first.
Parts = list[tuple[str, tuple[str, ...]]]


@dataclass(frozen=True)
class TowerSource:
    """Description of a tower and the origin of its first weights; `weights` None means random ones.

    `new` are the parts of the tower, as prefixes of its parameters, that no pretrained weights have; `notes` are lines
    for whoever reads the plan of a run.
    """

    description: Description
    weights: str | None
    state: dict[str, Tensor] | None
    new: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class ForwardBlock(NamedTuple):
    """A piece of a forward pass, and the paths of the modules and parameters that it runs."""

    paths: tuple[str, ...]
    run: Callable[[Tensor], Tensor]


class Tower(nn.Module, ABC):
    """Base of the towers; `dim` is the width of the pooled features, or of the tokens in a tower built for them."""

    dim: int

    def __init__(self) -> None:
        super().__init__()
        self._boundaries: dict[int, int] = {}

    @abstractmethod
    def layer_groups(self) -> list[LayerGroup]:
        """Return every parameter of the tower in exactly one group, stem first; new parts are the last groups."""

    @abstractmethod
    def checkpoint_activations(self) -> bool:
        """Have the backward pass compute each block's activations anew; False if the architecture does not know how."""

    @abstractmethod
    def forward_blocks(self, mask: Tensor | None = None) -> list[ForwardBlock]:
        """Return the steps from input to pooled features, each parameter and module in exactly one of them.

        `mask` (batch, length) is a text's; without one the steps only tell what they hold. A tower of a kind that is
        not known to be taken apart is one step.
        """

    def boundary(self, num_suffix_groups: int) -> int:
        """Return how many steps stand before all that hold a parameter of the last `num_suffix_groups` layer groups.

        None at all if the tower cannot be taken apart there; all of them if no group stands behind. Found once: each
        step of a training asks.
        """
        if num_suffix_groups not in self._boundaries:
            self._boundaries[num_suffix_groups] = self._find_boundary(num_suffix_groups)
        return self._boundaries[num_suffix_groups]

    def _find_boundary(self, num_suffix_groups: int) -> int:
        groups, blocks = self.layer_groups(), self.forward_blocks()
        behind = [name for group in groups[max(0, len(groups) - num_suffix_groups) :] for name in group.parameters]
        suffix = (number for number, block in enumerate(blocks) if any(_holds(block, name) for name in behind))
        return next(suffix, len(blocks))

    def frozen_prefix(self) -> list[nn.Module]:
        """Return the modules that run before the first layer group with a trainable parameter.

        Those whose parameters all lie in groups before it, and what steps before it hold, be it without parameters.
        """
        parameters = dict(self.named_parameters())
        groups = self.layer_groups()
        opened = [any(parameters[name].requires_grad for name in group.parameters) for group in groups]
        first = opened.index(True) if True in opened else len(groups)
        closed = {id(parameters[name]) for group in groups[:first] for name in group.parameters}
        found = [module for module in self.modules() if _all_in(module, closed)]
        for block in self.forward_blocks()[: self.boundary(len(groups) - first)]:
            found += [module for path, module in self.named_modules() if path in block.paths]
        return found


def _holds(block: ForwardBlock, name: str) -> bool:
    return any(f"{name}.".startswith(f"{path}.") for path in block.paths)


def _all_in(module: nn.Module, closed: set[int]) -> bool:
    own = [id(parameter) for parameter in module.parameters()]
    return bool(own) and closed.issuperset(own)


def _run(blocks: Sequence[ForwardBlock], values: Tensor) -> Tensor:
    for block in blocks:
        values = block.run(values)
    return values


class ImageTower(Tower):
    """Encodes normalised pixels (batch, 3, height, width) as pooled features (batch, dim)."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Turn uint8 pixels into the floats the tower was trained on, on the tower's own device."""
        floats = pixels.to(self.mean.device, torch.float32, copy=True, memory_format=torch.channels_last)
        return floats.sub_(self.mean).div_(self.std)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return pooled features (batch, dim) of uint8 pixels (batch, 3, height, width)."""
        features: Tensor = self(self.normalise(pixels))
        return features

    def forward_prefix(self, pixels: Tensor, num_suffix_groups: int) -> Tensor:
        """Return what enters the last `num_suffix_groups` layer groups, of uint8 pixels (batch, 3, height, width).

        Maps as (batch, height, width, channels), tokens as (batch, n, width): the width comes last.
        """
        values = _run(self.forward_blocks()[: self.boundary(num_suffix_groups)], self.normalise(pixels))
        return values.permute(0, 2, 3, 1) if values.ndim == 4 else values

    def forward_suffix(self, activations: Tensor, num_suffix_groups: int) -> Tensor:
        """Return pooled features (batch, dim) of what `enter` gave for as many groups: together they are `encode`."""
        values = activations.float()
        blocks = self.forward_blocks()[self.boundary(num_suffix_groups) :]
        return _run(blocks, values.permute(0, 3, 1, 2) if values.ndim == 4 else values)

    @abstractmethod
    def tokens(self, pixels: Tensor) -> Tensor:
        """Return token features (batch, n, width) of normalised pixels; a tower that pools by itself may have none."""


class TextTower(Tower):
    """Encodes token ids and their mask, both (batch, length), as pooled features (batch, dim)."""

    @abstractmethod
    def tokens(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return token features (batch, length, width)."""

    def encode(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return pooled features (batch, dim)."""
        features: Tensor = self(token_ids, mask)
        return features

    def forward_prefix(self, token_ids: Tensor, mask: Tensor, num_suffix_groups: int) -> Tensor:
        """Return the tokens (batch, length, width) that enter the last `num_suffix_groups` layer groups."""
        return _run(self.forward_blocks(mask)[: self.boundary(num_suffix_groups)], token_ids)

    def forward_suffix(self, activations: Tensor, mask: Tensor, num_suffix_groups: int) -> Tensor:
        """Return pooled features (batch, dim) of what `enter` gave for as many groups, padding not read."""
        # With all groups behind they are token ids.
        values = activations.float() if activations.is_floating_point() else activations
        return _run(self.forward_blocks(mask)[self.boundary(num_suffix_groups) :], values)


def groups_of(tower: nn.Module, parts: Parts) -> list[LayerGroup]:
    """Return a group for each (name, the modules and parameters it holds); one without parameters is left out."""
    names = [name for name, _ in tower.named_parameters()]
    groups = [
        LayerGroup(title, tuple(name for name in names if any(f"{name}.".startswith(f"{part}.") for part in held)))
        for title, held in parts
    ]
    return [group for group in groups if group.parameters]


def check_groups(tower: nn.Module, groups: list[LayerGroup]) -> list[LayerGroup]:
    """Return `groups` if they hold every parameter of the tower exactly once, else raise ValueError naming one."""
    listed = [name for group in groups for name in group.parameters]
    known = {name for name, _ in tower.named_parameters()}
    stray = sorted(known - set(listed)) or sorted(set(listed) - known)
    if stray or len(listed) != len(set(listed)):
        twice = stray or sorted(name for name in set(listed) if listed.count(name) > 1)
        raise ValueError(f"{type(tower).__name__}: parameter {twice[0]!r} is not in exactly one layer group")
    return groups


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file; ValueError if it is truncated or of another kind."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: no whole .safetensors file ({error}); fetch or make it again") from error


def load_strictly(tower: nn.Module, state: dict[str, Tensor], origin: str, new: tuple[str, ...] = ()) -> None:
    """Fill a tower as float32, all but its `new` parts; ValueError lists what is missing, unknown or of other shape."""
    own = {name: value for name, value in tower.state_dict().items() if not name.startswith(new)}
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in sorted(own.keys() & state.keys())
        if own[name].shape != state[name].shape
    ]
    faults = [
        f"{len(found)} {what}, e.g. {found[0]}"
        for what, found in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if found
    ]
    if faults:
        raise ValueError(f"{origin}: the weights do not fit {type(tower).__name__}: {'; '.join(faults)}")
    tower.load_state_dict({name: value.to(own[name].dtype) for name, value in state.items()}, strict=not new)


def weights_hash(state: dict[str, Tensor] | None) -> str | None:
    """Return a hash of the values, independent of the file they came in; None for random weights."""
    if state is None:
        return None
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().to("cpu", torch.float32).contiguous()
        total.update(f"{name}{tuple(value.shape)}".encode() + value.numpy().tobytes())
    return total.hexdigest()[:16]


def fingerprint(source: TowerSource) -> str:
    """Return the identity of a tower with its first weights."""
    return digest_value([source.description, weights_hash(source.state)])


def check_asked(section: str, pretrained: bool, weights: str | None) -> None:
    """Raise ValueError where weights are named, but random ones are asked for."""
    if weights is not None and not pretrained:
        raise ValueError(f"{section}.weights = {weights!r}, but {section}.pretrained is false; set one of them anew")


def local_folder(name: str) -> Path | None:
    """Return a tower's folder if its name is one; ValueError for a local path that is not there."""
    path = Path(name)
    if path.is_dir():
        return path
    if name.startswith((".", "/", "data/")):
        raise ValueError(f"{name}: no such folder; `dvc repro` makes the sample's, your own go under data/weights")
    return None

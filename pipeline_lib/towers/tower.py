"""The interface of every tower: ordered layer groups, a description to rebuild it from, and its forward pass in blocks.

A tower is resolved from params into a `TowerSource` (its description and its pretrained weights), built from the
description alone, and then loaded. So a trained model is rebuilt from its own file, without the pretrained weights.

The forward pass is also a list of blocks that can be split before any layer group: into a prefix, whose activations can
be stored once if it is frozen, and a suffix that runs on the stored activations.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.artifacts.messages import one_line
from pipeline_lib.batch import LayerGroup
from pipeline_lib.towers.file_tensors import Tensors
from pipeline_lib.towers.unpooled import channels_last
from pipeline_lib.towers.weights import weights_hash

Description = dict[str, Any]
# Layer groups of a tower as (name, paths of its modules and parameters), stem first.
Parts = list[tuple[str, tuple[str, ...]]]


@dataclass(frozen=True)
class TowerIdentity:
    """Description of a tower, and the identity of description and weights: enough to read features stored of it."""

    description: Description
    fingerprint: str


class Identified(Protocol):
    """A tower's source, or its identity."""

    @property
    def description(self) -> Description:
        """Return what the tower is built from."""

    @property
    def fingerprint(self) -> str:
        """Return the identity of description and weights."""


@dataclass(frozen=True)
class TowerSource:
    """Description of a tower and the origin of its pretrained weights; `weights` is None for random ones.

    `state` has the weights by name, perhaps as FileTensors, which are not in memory.
    `new` are the prefixes of parameters that the pretrained weights do not have; `notes` are lines for the trainable
    report. `scales` are the logit_scale and logit_bias of a pair's checkpoint.
    """

    description: Description
    weights: str | None
    state: Tensors | None
    new: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    scales: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Return whether the pretrained weights have every parameter of the tower."""
        return self.state is not None and not self.new

    def identity(self) -> TowerIdentity:
        """Return the identity alone, which holds no weights."""
        return TowerIdentity(self.description, self.fingerprint)

    @cached_property
    def fingerprint(self) -> str:
        """Return the identity of description and pretrained weights, whatever the width of the tower's new parts."""
        description = {key: value for key, value in self.description.items() if key != "out_dim"}
        return digest_value([description, self.state_hash])

    @cached_property
    def state_hash(self) -> str | None:
        """Return `weights_hash` of the pretrained weights: half a second for ViT-B/32, so it is computed once."""
        return weights_hash(self.state)


class ForwardBlock(NamedTuple):
    """A part of a forward pass: its function, and the paths of the modules and parameters that it uses."""

    paths: tuple[str, ...]
    run: Callable[[Tensor], Tensor]


class Tower(nn.Module, ABC):
    """Base class of the towers; `dim` is the width of the pooled features, or of the tokens if it is built for them."""

    dim: int

    def __init__(self) -> None:
        super().__init__()
        self._boundaries: dict[int, int] = {}

    @abstractmethod
    def layer_groups(self) -> list[LayerGroup]:
        """Return groups, stem first, with each parameter in exactly one; parts without pretrained weights are last."""

    @abstractmethod
    def checkpoint_activations(self) -> bool:
        """Turn on activation checkpointing of the blocks; return False if the architecture does not support it."""

    @abstractmethod
    def forward_blocks(self, mask: Tensor | None = None) -> list[ForwardBlock]:
        """Return the blocks from input to pooled features, with each parameter and module in exactly one.

        `mask` (batch, length) is a text's; without one the blocks of a text tower only list their paths. A tower of an
        unknown architecture is one block.
        """

    def boundary(self, num_suffix_groups: int) -> int:
        """Return how many blocks come before the first that uses a parameter of the last `num_suffix_groups` groups.

        0 if the tower cannot be split there; all blocks if `num_suffix_groups` is 0. Cached, because every training
        step needs it.
        """
        if num_suffix_groups not in self._boundaries:
            self._boundaries[num_suffix_groups] = self._find_boundary(num_suffix_groups)
        return self._boundaries[num_suffix_groups]

    def _find_boundary(self, num_suffix_groups: int) -> int:
        groups, blocks = self.layer_groups(), self.forward_blocks()
        suffix = [name for group in groups[max(0, len(groups) - num_suffix_groups) :] for name in group.parameters]
        numbers = (number for number, block in enumerate(blocks) if any(_uses(block, name) for name in suffix))
        return next(numbers, len(blocks))

    def frozen_prefix(self) -> list[nn.Module]:
        """Return the modules that run before the first layer group with a trainable parameter.

        These are the modules whose parameters all belong to earlier groups, and the modules of earlier blocks, also
        those without parameters.
        """
        parameters = dict(self.named_parameters())
        groups = self.layer_groups()
        trainable = [any(parameters[name].requires_grad for name in group.parameters) for group in groups]
        first = trainable.index(True) if True in trainable else len(groups)
        frozen = {id(parameters[name]) for group in groups[:first] for name in group.parameters}
        modules = [module for module in self.modules() if _all_in(module, frozen)]
        for block in self.forward_blocks()[: self.boundary(len(groups) - first)]:
            modules += [module for path, module in self.named_modules() if path in block.paths]
        return modules


def _uses(block: ForwardBlock, name: str) -> bool:
    return any(f"{name}.".startswith(f"{path}.") for path in block.paths)


def _all_in(module: nn.Module, frozen: set[int]) -> bool:
    own = [id(parameter) for parameter in module.parameters()]
    return bool(own) and frozen.issuperset(own)


def _run(blocks: Sequence[ForwardBlock], values: Tensor) -> Tensor:
    for block in blocks:
        values = block.run(values)
    return values


class ImageTower(Tower):
    """Encodes normalised pixels (batch, 3, height, width) as pooled features (batch, dim).

    `memory_format` is that of its kernels and images.
    """

    memory_format: torch.memory_format = torch.channels_last
    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return normalised float32 pixels on the tower's device, from uint8 or float pixels of 0 to 255."""
        floats = pixels.to(self.mean.device, torch.float32, copy=True, memory_format=self.memory_format)
        return floats.sub_(self.mean).div_(self.std)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return pooled features (batch, dim) of uint8 pixels (batch, 3, height, width)."""
        features: Tensor = self(self.normalise(pixels))
        return features

    def forward_prefix(self, pixels: Tensor, num_suffix_groups: int) -> Tensor:
        """Return the input of the last `num_suffix_groups` layer groups, for uint8 pixels (batch, 3, height, width).

        The channels are last: (batch, height, width, channels) for maps, (batch, n, width) for tokens.
        """
        return channels_last(_run(self.forward_blocks()[: self.boundary(num_suffix_groups)], self.normalise(pixels)))

    def forward_suffix(self, activations: Tensor, num_suffix_groups: int) -> Tensor:
        """Return pooled features (batch, dim) from the result of `forward_prefix`; both together equal `encode`."""
        values = activations.float()
        blocks = self.forward_blocks()[self.boundary(num_suffix_groups) :]
        if values.ndim == 4:
            values = values.permute(0, 3, 1, 2).contiguous(memory_format=self.memory_format)
        return _run(blocks, values)

    @abstractmethod
    def tokens(self, pixels: Tensor) -> Tensor:
        """Return token features (batch, n, width) of normalised pixels; not every architecture has them."""

    @abstractmethod
    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the tower pools, and its features (batch, dim), of uint8 pixels (batch, 3, height, width).

        The first are the tokens of a transformer (batch, n, width), class and register tokens before the patches, or
        the cells of a map (batch, rows, columns, width). A norm before the pooling is applied, a projection after it is
        not. ValueError if the architecture has neither.
        """


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
        """Return the tokens (batch, length, width) that are the input of the last `num_suffix_groups` layer groups."""
        return _run(self.forward_blocks(mask)[: self.boundary(num_suffix_groups)], token_ids)

    def forward_suffix(self, activations: Tensor, mask: Tensor, num_suffix_groups: int) -> Tensor:
        """Return pooled features (batch, dim) from the result of `forward_prefix`; padding is ignored."""
        # If the suffix is the whole tower, the activations are token ids.
        values = activations.float() if activations.is_floating_point() else activations
        return _run(self.forward_blocks(mask)[self.boundary(num_suffix_groups) :], values)


def groups_of(tower: nn.Module, parts: Parts) -> list[LayerGroup]:
    """Return a layer group for each of `parts`, except those without parameters."""
    names = [name for name, _ in tower.named_parameters()]
    groups = [
        LayerGroup(title, tuple(name for name in names if any(f"{name}.".startswith(f"{path}.") for path in paths)))
        for title, paths in parts
    ]
    return [group for group in groups if group.parameters]


def check_groups(tower: nn.Module, groups: list[LayerGroup]) -> list[LayerGroup]:
    """Return `groups` if each parameter of the tower is in exactly one; otherwise ValueError with one that is not."""
    listed = [name for group in groups for name in group.parameters]
    known = {name for name, _ in tower.named_parameters()}
    faulty = sorted(known - set(listed)) or sorted(set(listed) - known)
    faulty = faulty or sorted(name for name in set(listed) if listed.count(name) > 1)
    if faulty:
        raise ValueError(f"{type(tower).__name__}: parameter {faulty[0]!r} is not in exactly one layer group")
    return groups


def check_pretrained(section: str, pretrained: bool, weights: str | None) -> None:
    """Raise ValueError if weights are named although `pretrained` is false."""
    if weights is not None and not pretrained:
        raise ValueError(f"{section}.weights = {weights!r}, but {section}.pretrained is false; change one of them")


@contextmanager
def config_errors(where: str) -> Iterator[None]:
    """Turn what a library raises for a config or weights that it cannot use into one ValueError that says `where`."""
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:  # each architecture of each library raises its own types
        reason = f"{type(error).__name__}: {one_line(error, 300)}"
        raise ValueError(f"{where}: its config cannot be used ({reason})") from error


def local_folder(name: str) -> Path | None:
    """Return the folder that a tower's name is the path of, else None; ValueError for a path that does not exist."""
    path = Path(name)
    if path.is_dir():
        return path
    if name.startswith((".", "/", "data/")):
        raise ValueError(f"{name}: no such folder; `dvc repro` creates the sample's, put your own under data/weights")
    return None

"""What an image tower does with one image, asked of a copy on the meta device, which has shapes but no values.

So a size that an architecture does not support, or an output that is not one vector, is an error before any image is
read and before any weights are loaded.
"""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache, reduce
from itertools import combinations
from operator import or_
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline_lib.artifacts.messages import one_line
from pipeline_lib.towers.file_tensors import Tensors
from pipeline_lib.towers.kinds import build_image_tower
from pipeline_lib.towers.on_meta import on_meta
from pipeline_lib.towers.tower import Description
from pipeline_lib.towers.weights import first_named, further_names

LONGEST = 160  # characters of a library's message


class _Probed(NamedTuple):
    """The reason why a tower cannot embed an image, and the further names of its tensors -> their first name."""

    fault: str | None
    further: Mapping[str, str]


def image_fault(description: Description) -> str | None:
    """Return the reason why a tower cannot be built, or cannot embed an image of its size; None if it can."""
    return _probe(json.dumps(description, sort_keys=True)).fault


def by_first_names(weights: Tensors, description: Description) -> Tensors:
    """Return an image tower's weights by the names that its `unique_state` has; the first name's value wins."""
    return first_named(weights, _probe(json.dumps(description, sort_keys=True)).further)


@lru_cache(maxsize=256)
def _probe(encoded: str) -> _Probed:
    description = json.loads(encoded)
    try:
        output, further = _output(description)
    except Exception as error:  # timm's architectures raise many classes
        return _Probed(one_line(error, LONGEST), {})
    wanted = 3 if description.get("tokens") else 2
    if isinstance(output, Tensor) and output.ndim == wanted and output.shape[0] == 1:
        return _Probed(None, further)
    found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    shape = "(1, tokens, width)" if wanted == 3 else "(1, width)"
    return _Probed(f"its output for one image has {found}, not {shape}", further)


def working_ways(
    changes: Mapping[str, Description],
    description: Description,
    fitted: Callable[[Description], Description | None],
) -> list[str]:
    """Return the settings whose change of a description works by `fitted`, or pairs of them if none does alone."""
    for together in (1, 2):
        found = [
            " and ".join(settings)
            for settings in combinations(changes, together)
            if fitted(reduce(or_, (changes[name] for name in settings), description)) is not None
        ]
        if found:
            return found
    return []


def fails_on_one_row(description: Description) -> str | None:
    """Return the reason why a tower in training mode fails on a batch of one image, None if it does not."""
    with on_meta():
        tower = build_image_tower(description).train()
        try:
            tower.encode(_image(description))
        except ValueError as error:
            return one_line(error, LONGEST)
    return None


def _output(description: Description) -> tuple[object, Mapping[str, str]]:
    with on_meta(), torch.inference_mode():
        tower = build_image_tower(description).eval()
        pixels = _image(description)
        features = tower.tokens(tower.normalise(pixels)) if description.get("tokens") else tower.encode(pixels)
        if isinstance(features, Tensor) and features.ndim == 2 and features.shape[1] != tower.dim:
            raise ValueError(f"its output has {features.shape[1]} features, its config says {tower.dim}")
    return features, further_names(tower)


def _image(description: Description) -> Tensor:
    size = description["size"]
    return torch.zeros(1, 3, size, size, dtype=torch.uint8)

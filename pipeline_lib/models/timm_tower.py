"""Image towers from timm: by architecture, or from a folder with config.json and model.safetensors.

Layer groups are timm's own fine groups (`group_matcher(coarse=False)`), the ones that open_clip's
`lock_image_tower(unlocked_groups=n)` counts, so numbers of unlocked groups mean the same here.
"""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.models import PretrainedCfg, group_parameters
from torch import Tensor, nn

from pipeline_lib.models.towers import Description, ImageTower, TowerSource, check_groups, local_folder
from pipeline_lib.params.model import ImageTowerParams
from pipeline_lib.provenance import read_json
from pipeline_lib.records import LayerGroup


class TimmTower(ImageTower):
    """A timm model without its classifier; its output is the pooled trunk (batch, num_features)."""

    trunk: nn.Module

    def __init__(self, description: Description) -> None:
        super().__init__(description["mean"], description["std"])
        self.trunk = timm.create_model(
            description["architecture"], pretrained=False, num_classes=0, **description["model_args"]
        )
        self.trunk.to(memory_format=torch.channels_last)
        self.dim = _feature_dim(self.trunk)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return pooled features (batch, dim) of normalised pixels (batch, 3, height, width)."""
        features: Tensor = self.trunk(pixels)
        return features

    def layer_groups(self) -> list[LayerGroup]:
        """Return timm's fine groups, stem first; the last one is the final norm."""
        named: dict[int, list[str]] = group_parameters(self.trunk, _fine_matcher(self.trunk))
        groups = [
            LayerGroup(_common_name(named[number]), tuple(f"trunk.{name}" for name in named[number]))
            for number in sorted(named)
        ]
        return check_groups(self, groups)


def _fine_matcher(trunk: Any) -> Any:
    return trunk.group_matcher(coarse=False)


def _feature_dim(trunk: Any) -> int:
    return int(trunk.head_hidden_size or trunk.num_features)


def _common_name(names: list[str]) -> str:
    """Name a group by the path its parameters share: stages.2.blocks.0.gamma, stages.2.blocks.0.norm -> ...blocks.0."""
    parts = [name.split(".")[:-1] for name in names]
    shared = [column[0] for column in zip(*parts, strict=False) if len(set(column)) == 1]
    return ".".join(shared) or names[0].split(".")[0]


def resolve_timm(params: ImageTowerParams) -> TowerSource:
    """Find architecture, normalisation and weights of a timm tower; ValueError where they are not to be had."""
    folder = local_folder(params.name)
    config: dict[str, Any] = read_json(folder / "config.json") if folder else {}
    architecture = str(config.get("architecture", params.name))
    if not timm.is_model(architecture):
        near = ", ".join(timm.list_models(f"*{architecture.split('_')[0]}*")[:5]) or "see timm.list_models()"
        raise ValueError(f"model.image.name = {architecture!r}: timm has no such architecture; near: {near}")
    published = timm.get_pretrained_cfg(architecture) or PretrainedCfg()
    description: Description = {
        "kind": "timm",
        "architecture": architecture,
        "model_args": config.get("model_args", {}),
        "mean": list(params.mean or config.get("mean") or published.mean),
        "std": list(params.std or config.get("std") or published.std),
        "size": params.size,
    }
    if not params.pretrained:
        return TowerSource(description, None, None)
    file = params.weights or (str(folder / "model.safetensors") if folder else None)
    if file is None:
        state = timm.create_model(architecture, pretrained=True, num_classes=0).state_dict()
        return TowerSource(description, f"timm:{architecture}", _under_trunk(state))
    if not Path(file).is_file() or not file.endswith(".safetensors"):
        raise ValueError(f"model.image.weights = {file!r}: no such .safetensors file")
    classifier = published.classifier or "head"
    heads = tuple(f"{name}." for name in ((classifier,) if isinstance(classifier, str) else classifier))
    state = {name: value for name, value in load_file(file).items() if not name.startswith(heads)}
    return TowerSource(description, file, _under_trunk(state))


def _under_trunk(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"trunk.{name}": value for name, value in state.items()}


def build_timm(description: Description) -> ImageTower:
    """Build a timm tower with random weights from its description."""
    return TimmTower(description)

"""Image towers from timm: by architecture, or from a folder with config.json and model.safetensors.

Layer groups are timm's fine groups (`group_matcher(coarse=False)`), which open_clip's
`lock_image_tower(unlocked_groups=n)` counts too, so a number of unfrozen groups means the same in both. A new pooling
and a new linear layer are further groups at the end; open_clip never locks them.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
from timm.models import PretrainedCfg
from torch import Tensor, nn

from pipeline_lib.artifacts.read import read_json
from pipeline_lib.batch import LayerGroup
from pipeline_lib.params.model import ImagePoolingKind, ImageSettings, ImageTowerParams
from pipeline_lib.towers.file_tensors import FileTensors, Tensors, rename_tensors, with_prefix
from pipeline_lib.towers.image_pooling import IMAGE_POOLING, Grid, ImagePool
from pipeline_lib.towers.on_meta import on_meta
from pipeline_lib.towers.pooling import as_tokens
from pipeline_lib.towers.probe import by_first_names, image_fault, working_ways
from pipeline_lib.towers.timm_blocks import timm_blocks
from pipeline_lib.towers.tower import (
    Description,
    ForwardBlock,
    ImageTower,
    TowerSource,
    check_groups,
    check_pretrained,
    groups_of,
    local_folder,
)
from pipeline_lib.towers.trunks import (
    checkpoint_trunk,
    drop_caches,
    free_size,
    memory_format,
    set_memory_format,
    trunk_groups,
)
from pipeline_lib.towers.unpooled import channels_first, channels_last, run_trunk
from pipeline_lib.transforms.resizing import Resizing

# Defaults of the keys that a description may lack.
DEFAULTS: Description = {"feature": "pooled", "pooling": None, "classes": 0, "out_dim": 0, "tokens": False}


@dataclass(frozen=True)
class FolderConfig:
    """What is read of the config.json of a folder, in the format of timm; what it lacks is as timm publishes it."""

    architecture: str | None = None
    model_args: dict[str, Any] = field(default_factory=dict)
    num_classes: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


class TimmTower(ImageTower):
    """A timm model; its features (batch, dim) are its pooled output, a new linear layer on it, or its class logits."""

    trunk: nn.Module

    def __init__(self, description: Description) -> None:
        description = DEFAULTS | description
        super().__init__(description["mean"], description["std"])
        classes, model_args = description["classes"], description["model_args"]
        self.trunk = timm.create_model(description["architecture"], pretrained=False, num_classes=classes, **model_args)
        free_size(self.trunk)
        if description["tokens"] or description["pooling"]:
            _unpool(self.trunk)
        self.memory_format = memory_format(self.trunk)
        set_memory_format(self.trunk, self.memory_format)
        drop_caches(self.trunk)
        self.width = _feature_dim(self.trunk)
        self.dim: int = classes or self.width
        self.pool: ImagePool | None = None
        if description["pooling"]:
            self.pool = IMAGE_POOLING[description["pooling"]](self.dim, _grid(self.trunk), description["out_dim"])
            self.dim = self.pool.dim
        self.fc: nn.Module | None = None
        if description["feature"] == "new_fc":
            self.fc = nn.Linear(self.dim, description["out_dim"])
            self.dim = description["out_dim"]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features (batch, dim) of normalised pixels (batch, 3, height, width)."""
        return self._pooled(self.trunk(pixels))

    def forward_blocks(self, mask: Tensor | None = None) -> list[ForwardBlock]:
        """Return the trunk's blocks, and one for the pooling and the new layer."""
        return [*timm_blocks(self.trunk, "trunk"), ForwardBlock(("pool", "fc"), self._pooled)]

    def tokens(self, pixels: Tensor) -> Tensor:
        """Return the cells of the last feature map, or a transformer's patches, as (batch, n, width)."""
        return as_tokens(self._unpooled(self.trunk(pixels)))

    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens, or the last feature map, and the features (batch, dim), of uint8 pixels."""
        values = self.normalise(pixels)
        if self.pool is None:
            tokens, output = run_trunk(self.trunk, values)
            return tokens, self._pooled(output)
        # The trunk's own pooling is off, so a norm behind it is applied to every cell.
        output = self.trunk(values)
        return channels_last(channels_first(output, self.width, self.trunk)), self._pooled(output)

    def _pooled(self, features: Tensor) -> Tensor:
        pooled: Tensor = features if self.pool is None else self.pool(self._unpooled(features))
        return pooled if self.fc is None else self.fc(pooled)

    def _unpooled(self, features: Tensor) -> Tensor:
        """Return a map (batch, width, height, width of the map), or the tokens (batch, n, width) of patches."""
        features = channels_first(features, self.width, self.trunk)
        return features if features.ndim == 4 else features[:, int(getattr(self.trunk, "num_prefix_tokens", 0)) :]

    def checkpoint_activations(self) -> bool:
        """Turn on timm's activation checkpointing of the trunk's blocks."""
        return checkpoint_trunk(self.trunk)

    def layer_groups(self) -> list[LayerGroup]:
        """Return timm's fine groups, stem first, then the new pooling and the new layer if there are any."""
        new = groups_of(self, [("pool", ("pool",)), ("fc", ("fc",))])
        return check_groups(self, [*trunk_groups(self.trunk, "trunk"), *new])


def _unpool(trunk: Any) -> None:
    """Remove the pooling as open_clip does: a norm after the pooling then normalises every cell of the map.

    The encoders of multimodal models have none to remove: their output is their tokens, or a map.
    """
    if hasattr(trunk, "reset_classifier"):
        trunk.reset_classifier(0, global_pool="")


def _feature_dim(trunk: Any) -> int:
    return int(trunk.head_hidden_size or trunk.num_features)


def _grid(trunk: Any) -> Grid | None:
    """Return the size of the last feature map at the architecture's image size, from timm's config."""
    return trunk.default_cfg.get("pool_size") or None


def resolve_timm(model: ImageSettings) -> TowerSource:
    """Return the source of a timm tower; ValueError for an unknown architecture or weights, or conflicting settings."""
    params, early = model.image, model.fusion == "early"
    check_pretrained("model.image", params.pretrained, params.weights)
    folder = local_folder(params.name)
    config = read_json(folder / "config.json", FolderConfig) if folder else FolderConfig()
    architecture = config.architecture or params.name
    if not timm.is_model(architecture):
        similar = ", ".join(timm.list_models(f"*{architecture.split('_')[0]}*")[:5]) or "see timm.list_models()"
        setting = f"{folder / 'config.json'}: architecture" if folder and config.architecture else "model.image.name"
        raise ValueError(f"{setting} = {architecture!r}: timm has no such architecture; similar: {similar}")
    if params.feature != "pooled" and (early or (params.feature == "logits" and params.pooling)):
        other = "model.fusion = early" if early else f"model.image.pooling = {params.pooling}"
        raise ValueError(
            f"model.image.feature = {params.feature!r} cannot be combined with {other}; set "
            "model.image.feature = pooled"
        )
    published = timm.get_pretrained_cfg(architecture) or PretrainedCfg()
    model_args = {**config.model_args, **params.args}
    classes = model_args.pop("num_classes", published.num_classes if config.num_classes is None else config.num_classes)
    description: Description = {
        "kind": "timm",
        "architecture": architecture,
        "model_args": model_args,
        "mean": list(params.mean or config.mean or published.mean),
        "std": list(params.std or config.std or published.std),
        "size": params.size,
        **Resizing.of(params.model_dump(exclude_none=True)).stated(),
        "feature": params.feature,
        # With early fusion, the fusion layer pools.
        "pooling": None if early else params.pooling,
        "classes": classes if params.feature == "logits" else 0,
        "tokens": early,
    }
    pool_has_weights = description["pooling"] not in (None, "mean", "max")
    new = (("pool.",) if pool_has_weights else ()) + (("fc.",) if params.feature == "new_fc" else ())
    description["out_dim"] = model.embedding_dim if new else 0
    description = _fit_to_size(description, params)
    if not params.pretrained:
        return TowerSource(description, None, None, new)
    origin, state = _weights(params, description, folder, published)
    return TowerSource(description, origin, by_first_names(with_prefix(state, "trunk."), description), new)


def _fit_to_size(description: Description, params: ImageTowerParams) -> Description:
    """Return a description of a tower that embeds images of its size, with timm's `img_size` if it needs that.

    ValueError with the reason if it cannot, and with the other settings with which it can.
    """
    if (fitted := _fitted(description)) is not None:
        return fitted
    size, pooling = description["size"], description["pooling"]
    ways = [*working_ways(_changes(description, params.pooling), description, _fitted), "another model.image.name"]
    raise ValueError(
        f"model.image.name = {params.name!r} cannot embed images of {size} px with model.image.pooling = "
        f"{pooling or 'null'} ({image_fault(description)}); set {', or '.join(ways)}"
    )


def _fitted(description: Description) -> Description | None:
    """Return the description, with timm's `img_size` if only then it embeds an image; None if it never does."""
    if image_fault(description) is None:
        return description
    args = description["model_args"]
    sized = {**description, "model_args": {**args, "img_size": description["size"]}}
    return sized if "img_size" not in args and image_fault(sized) is None else None


def _changes(description: Description, pooling: ImagePoolingKind | None) -> dict[str, Description]:
    """Return settings that may help, and what each changes in a description; `pooling` is model.image.pooling."""
    architecture, size = description["architecture"], description["size"]
    published = timm.get_pretrained_cfg(architecture) or PretrainedCfg()
    own = description["model_args"].get("img_size") or int(published.input_size[-1])
    changes: dict[str, Description] = {f"model.image.size = {own} (its own)": {"size": own}} if own != size else {}
    if description["tokens"]:
        return changes | {"model.fusion = late": {"tokens": False, "pooling": pooling}}
    kinds: tuple[ImagePoolingKind | None, ...] = (None, "mean")
    return changes | {f"model.image.pooling = {kind or 'null'}": {"pooling": kind} for kind in kinds if kind != pooling}


def _weights(
    params: ImageTowerParams, description: Description, folder: Path | None, published: PretrainedCfg
) -> tuple[str, Tensors]:
    """Return the origin and the trunk's weights; the classifier's only if its logits are the feature."""
    file = params.weights or (str(folder / "model.safetensors") if folder else None)
    if file is None:
        return f"timm:{description['architecture']}", _published_weights(description)
    if not Path(file).is_file() or not file.endswith(".safetensors"):
        raise ValueError(f"model.image.weights = {file!r}: no such .safetensors file")
    state = FileTensors.of([Path(file)])
    if params.feature != "logits":
        classifier = published.classifier or "head"
        heads = tuple(f"{name}." for name in ((classifier,) if isinstance(classifier, str) else classifier))
        state = rename_tensors(state, {name: name for name in state if not name.startswith(heads)})
    if "img_size" in description["model_args"] and not _fits_as_it_is(state, description):
        return file, _published_weights(description, {"file": file})
    return file, state


def _fits_as_it_is(state: FileTensors, description: Description) -> bool:
    """Return whether the tensors are the trunk's by name and shape, so that none is to be resized or renamed."""
    architecture, classes, args = (description[key] for key in ("architecture", "classes", "model_args"))
    with on_meta():
        return state.fit(timm.create_model(architecture, pretrained=False, num_classes=classes, **args))


def _published_weights(description: Description, overlay: dict[str, str] | None = None) -> dict[str, Tensor]:
    """Return the weights as timm loads them: it resizes position tables to another `img_size`.

    `overlay` changes where they are from: {"file": path}.
    """
    architecture, classes, args = (description[key] for key in ("architecture", "classes", "model_args"))
    if overlay is not None:
        args = {**args, "pretrained_cfg_overlay": {**args.get("pretrained_cfg_overlay", {}), **overlay}}
    try:
        trunk = timm.create_model(architecture, pretrained=True, num_classes=classes, **args)
    except (OSError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ValueError(
            f"model.image.name = {architecture!r}: cannot load its published weights ({first_line}); set "
            "model.image.weights to a file, or model.image.pretrained = false"
        ) from error
    state: dict[str, Tensor] = trunk.state_dict()
    return state

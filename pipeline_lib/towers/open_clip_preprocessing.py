"""Normalisation and resizing that an open_clip model's weights were trained with.

A tag of published weights and a folder's config name them. For a name with weights from a file they are what all
published tags of that name agree on; where these differ, or where there are none, params have to name them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

import open_clip
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from pipeline_lib.params.values import Interpolation, ResizeMode
from pipeline_lib.transforms.resizing import Resizing

# What a config or a tag that names nothing means in open_clip. The keys are those of model.image, too.
DEFAULTS: dict[str, Any] = {
    "mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD, "resize_mode": "shortest", "interpolation": "bicubic",
}  # fmt: skip


class Preprocessing(NamedTuple):
    """Mean and std of each channel, how an image becomes a square, and lines for the trainable report."""

    mean: list[float]
    std: list[float]
    resizing: Resizing
    notes: tuple[str, ...] = ()


def stated(values: Mapping[str, Any], own: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing that a tag or a config states; `own` are the values that params set, which win."""
    left = [key for key in DEFAULTS if key not in own]
    note = f"image: the config has no preprocess_cfg, so {', '.join(left)} of model.image are OpenAI's"
    return _preprocessing({**_known(values), **own}, () if values or not left else (note,))


def agreed(name: str, quick_gelu: bool, own: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing that all published tags of a model agree on, for weights from a file.

    `own` are the values that params set. ValueError if the tags differ in another value, or if there is no tag.
    """
    tags = open_clip.list_pretrained_tags_by_model(name)
    published = {tag: open_clip.get_pretrained_cfg(name, tag) for tag in tags}
    known = {tag: {**_known(values), **own} for tag, values in published.items()}
    unknown = [key for key in DEFAULTS if key not in own and len({str(one[key]) for one in known.values()}) != 1]
    if unknown:
        ways = {", ".join(f"{key} {one[key]}" for key in unknown): tag for tag, one in known.items()}
        differ = "; ".join(f"{way} of {tag}" for way, tag in ways.items())
        reason = f"its published tags differ: {differ}" if tags else "it has no published tags"
        raise ValueError(
            f"model.image: what a file of weights for {name} was trained with is not known, because {reason}; set "
            f"{' and '.join(f'model.image.{key}' for key in unknown)}"
        )
    notes: tuple[str, ...] = ()
    if {bool(values.get("quick_gelu")) for values in published.values()} == {True, False}:
        notes = (
            f"image: published weights of {name} differ in quick_gelu, and this run has {str(quick_gelu).lower()}; "
            "weights of OpenAI need a name that ends in -quickgelu",
        )
    return _preprocessing({**DEFAULTS, **next(iter(known.values()), {}), **own}, notes)


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: default if values.get(key) is None else values[key] for key, default in DEFAULTS.items()}
    if known["interpolation"] == "random":  # of augmentation; open_clip's fixed view is bicubic then
        known["interpolation"] = DEFAULTS["interpolation"]
    # A list from a config equals the tuple of a tag.
    return {key: tuple(value) if isinstance(value, list) else value for key, value in known.items()}


def _preprocessing(values: dict[str, Any], notes: tuple[str, ...]) -> Preprocessing:
    for key, kind in (("resize_mode", ResizeMode), ("interpolation", Interpolation)):
        if values[key] not in get_args(kind):
            raise ValueError(
                f"the config's preprocess_cfg has {key} = {values[key]!r}, which is none of "
                f"{', '.join(get_args(kind))}; set model.image.{key}"
            )
    return Preprocessing(list(values["mean"]), list(values["std"]), Resizing.of(values), notes)

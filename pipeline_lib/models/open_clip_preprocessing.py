"""Mean, standard deviation and resizing that an open_clip model's weights were trained with.

A tag of published weights and a folder's config name them. For a name with weights from a file they are what all
published tags of that name agree on; where these differ, or where there are none, params have to name them.
"""

from typing import Any, NamedTuple

import open_clip
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

# What a config or a tag that names nothing means in open_clip.
DEFAULTS: dict[str, Any] = {
    "mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD, "interpolation": "bicubic", "resize_mode": "shortest",
    "quick_gelu": False,
}  # fmt: skip
NORMALISATION, RESIZING = ("mean", "std"), ("resize_mode", "interpolation")


class Preprocessing(NamedTuple):
    """Mean and std of each channel, and lines for the trainable report."""

    mean: list[float]
    std: list[float]
    notes: tuple[str, ...]


def stated(values: dict[str, Any]) -> Preprocessing:
    """Return the preprocessing that a tag or a config states."""
    known = {**DEFAULTS, **{key: value for key, value in values.items() if value is not None}}
    notes = _resizing_notes([known])
    if not values:
        notes = ("image: the config has no preprocess_cfg, so model.image.mean and std are OpenAI's", *notes)
    return Preprocessing(list(known["mean"]), list(known["std"]), notes)


def agreed(name: str, quick_gelu: bool, both_set: bool) -> Preprocessing:
    """Return the preprocessing that all published tags of a model agree on, for weights from a file.

    ValueError if they differ in mean or std, or if there is no tag, unless params set them (`both_set`).
    """
    tags = open_clip.list_pretrained_tags_by_model(name)
    known = [{**DEFAULTS, **open_clip.get_pretrained_cfg(name, tag)} for tag in tags]
    found = {tuple(tuple(values[key]) for key in NORMALISATION): tag for values, tag in zip(known, tags, strict=True)}
    if len(found) != 1 and not both_set:
        ways = "; ".join(f"{list(mean)} and {list(std)} of {tag}" for (mean, std), tag in found.items())
        reason = f"its published tags differ: {ways}" if found else "it has no published tags"
        raise ValueError(
            f"model.image.mean, model.image.std: what a file of weights for {name} was trained with is not known, "
            f"because {reason}; set both"
        )
    mean, std = next(iter(found), (DEFAULTS["mean"], DEFAULTS["std"]))
    notes = _resizing_notes(known)
    if {bool(values["quick_gelu"]) for values in known} == {True, False}:
        notes += (
            f"image: published weights of {name} differ in quick_gelu, and this run has {str(quick_gelu).lower()}; "
            f"weights of OpenAI need a name that ends in -quickgelu",
        )
    return Preprocessing(list(mean), list(std), notes)


def _resizing_notes(known: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return a line if the weights, or some of them, were trained on images resized in another way than here."""
    other = sorted({" and ".join(values[key] for key in RESIZING) for values in known} - {"shortest and bicubic"})
    if not other:
        return ()
    return (
        f"image: published weights of this model read images resized by {', or '.join(other)}; here the shorter side "
        "is resized by bicubic interpolation and the centre is cropped",
    )

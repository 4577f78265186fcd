"""The models of a teacher's folder, data/starts/NAME: kept ones, a folder a fold or one for all, or a published pair.

A published pair is a model.yaml: keys of params.yaml's `model` that name two towers which come with their own
projections into one joint space. What it leaves out is plain, never the student's: a teacher does not change with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.models.multimodal import ImageTextModel, build_model, describe
from pipeline_lib.models.open_clip_config import checkpoint_scale
from pipeline_lib.models.saved import CARD, WEIGHTS, load_model
from pipeline_lib.models.tower_kinds import resolve_towers
from pipeline_lib.models.towers import TowerSource, weights_hash
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.transforms.tokenize import TextTokenizer

PAIR = "model.yaml"
# What a model.yaml need not say; image, text and embedding_dim have keys that it must.
PLAIN_PAIR: dict[str, Any] = {
    "weights_root": "data/weights",
    "image": {
        "weights": None, "pretrained": True, "mean": None, "std": None, "args": {}, "feature": "pooled",
        "pooling": None,
    },
    "text": {"weights": None, "pretrained": True, "config": {}, "tokenizer": None, "vocabulary": "full"},
    "projector": {"image": "none", "text": "none", "hidden": 1, "shared": False},
    "fusion": "late",
    "fusion_heads": 1,
    "similarity": "cosine",
    "temperature": "fixed",
    "missing_image": "black",
    "classifier": {"kind": "linear", "inputs": "image", "hidden": 1, "dropout": 0.0, "scale": 1.0},
    "register_memory": {"slots_private": 0, "slots_shared": 0},
    "positional_conv": {"after_block": 0, "stride": 1},
}  # fmt: skip


@dataclass(frozen=True)
class TeacherModel:
    """One model of a teacher; `fold` is the one it never saw, "" for a model that teaches all folds."""

    fold: str
    model: ImageTextModel
    tokenizer: TextTokenizer
    fingerprint: str
    # Whether this project trained it, so that it may have seen the catalogue's held-out products.
    trained: bool


def teacher_models(folder: Path) -> Iterator[TeacherModel]:
    """Yield the models of a teacher one after the other; ValueError if the folder holds none, or half ones."""
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder; `vitrine keep EXPERIMENT {folder.name}` makes a teacher of trained models, a "
            f"{PAIR} in it names published ones"
        )
    pair = folder / PAIR
    places = [folder / name for name in sorted(path.name for path in folder.iterdir()) if name.isdigit()]
    places += [folder] if (folder / WEIGHTS).is_file() or (folder / CARD).is_file() else []
    if pair.is_file() and places:
        raise ValueError(f"{folder}: holds a {PAIR} and trained models ({places[0]}); leave one of them")
    if pair.is_file():
        yield read_pair(pair)
    elif not places:
        raise ValueError(
            f"{folder}: holds no teacher; `vitrine keep EXPERIMENT {folder.name}` puts trained models there, a {PAIR} "
            "names published ones"
        )
    for place in places:
        for name in (WEIGHTS, CARD, "tokenizer"):
            if not (place / name).exists():
                raise ValueError(f"{place / name} is missing; `vitrine keep EXPERIMENT NAME` makes a whole teacher")
        saved = load_model(place)
        tokenizer = TextTokenizer(place / "tokenizer")
        fold = "" if place == folder else place.name
        yield TeacherModel(fold, saved.model, tokenizer, saved.fingerprint, trained=True)


def read_pair(path: Path) -> TeacherModel:
    """Build the pair of published towers that a model.yaml names; ValueError, said of the file, for any fault."""
    try:
        params, own_scale = _params(load_params(path))
        sources = resolve_towers(params)
        _check_joint(sources)
        if own_scale is None:
            own_scale = _scale_of(params, sources)
        params = params.model_copy(update={"logit_scale": own_scale})
        model = build_model(describe(params, sources, True, []), sources)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix('params.yaml: ')}") from None
    fingerprint = digest_value([model.description, weights_hash(dict(model.state_dict()))])
    tokenizer = TextTokenizer(sources["text"].description["tokenizer"])
    return TeacherModel("", model.eval(), tokenizer, fingerprint, trained=False)


def _params(patch: dict[str, Any]) -> tuple[ModelParams, float | None]:
    """Return the whole `model` section, and the log of the scale if the patch says it."""
    merged = {**PLAIN_PAIR, "logit_scale": 0.0, **patch}
    for key, value in PLAIN_PAIR.items():
        if isinstance(value, dict) and isinstance(merged[key], dict):
            merged[key] = {**value, **merged[key]}
    return parse_section(ModelParams, {"model": merged}), patch.get("logit_scale")


def _check_joint(sources: dict[str, TowerSource]) -> None:
    for name, source in sources.items():
        if source.state is None or source.new:
            parts = "weights" if source.state is None else f"weights for {', '.join(source.new)}"
            raise ValueError(f"model.{name} has no pretrained {parts}, and a teacher is not trained; name some")


def _scale_of(params: ModelParams, sources: dict[str, TowerSource]) -> float:
    """Return the log of the scale in the towers' own checkpoint."""
    kinds = {params.image.kind, params.text.kind}
    found = checkpoint_scale(Path(str(sources["image"].weights))) if kinds == {"open_clip"} else None
    if found is None:
        raise ValueError(
            "model.logit_scale: the weights hold none; write the log of the scale the pair was trained with, e.g. "
            "4.6052 for CLIP's 100"
        )
    return found

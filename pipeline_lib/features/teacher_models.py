"""The models of a teacher's folder, data/starts/NAME: trained models (one for all folds, or one per fold), or a pair.

A published pair is a model.yaml with keys of the section `model` of params.yaml. They name two towers with their own
projections into a joint space. Keys that are left out get the defaults below, not the student's values, so a teacher
does not depend on the student's settings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.models.multimodal import ImageTextModel, build_model, describe
from pipeline_lib.models.saved import CARD, WEIGHTS, load_model
from pipeline_lib.params.inputs import PAIR
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.splitting.seen import Seen, read_seen
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.towers.tower import TowerSource
from pipeline_lib.towers.weights import weights_hash
from pipeline_lib.transforms.tokenize import TextTokenizer

# Defaults of a model.yaml; the other keys of image and text, and embedding_dim, are required.
PAIR_DEFAULTS: dict[str, Any] = {
    "weights_root": "data/weights",
    "image": {
        "weights": None, "pretrained": True, "mean": None, "std": None, "resize_mode": None, "interpolation": None,
        "args": {}, "feature": "pooled", "pooling": None,
    },
    "text": {"weights": None, "pretrained": True, "config": {}, "tokenizer": None},
    "projector": {"image": "none", "text": "none", "hidden": 1, "shared": False},
    "fusion": "late",
    "fusion_heads": 1,
    "similarity": "cosine",
    "temperature": "fixed",
    "logit_scale": None,
    "text_vocabulary": "full",
    "missing_image": "black",
    "classifier": {"kind": "linear", "inputs": "image", "hidden": 1, "dropout": 0.0, "scale": 1.0},
    "register_memory": {"slots_private": 0, "slots_shared": 0},
    "positional_conv": {"after_block": 0, "stride": 1},
    "frames": {"pooling": "mean", "layers": 0, "heads": 1, "max_frames": 1, "temperature": 1.0},
}  # fmt: skip


@dataclass(frozen=True)
class TeacherModel:
    """One model of a teacher; `fold` is its held-out fold, "" for a model that is the teacher of all folds.

    `trained` if this project trained it; `seen` is then what it has seen, if its card says so.
    """

    fold: str
    model: ImageTextModel
    tokenizer: TextTokenizer
    fingerprint: str
    trained: bool
    seen: Seen | None = None


def teacher_models(folder: Path) -> Iterator[TeacherModel]:
    """Yield the models of a teacher, one at a time; ValueError if the folder has none, or an incomplete one."""
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder; `vitrine keep EXPERIMENT {folder.name}` saves trained models as a teacher, or "
            f"write a {PAIR} that names a published pair"
        )
    pair = folder / PAIR
    folders = [folder / name for name in sorted(path.name for path in folder.iterdir()) if name.isdigit()]
    folders += [folder] if (folder / WEIGHTS).is_file() or (folder / CARD).is_file() else []
    if pair.is_file() and folders:
        raise ValueError(f"{folder}: has a {PAIR} and trained models ({folders[0]}); remove one of them")
    if pair.is_file():
        yield read_pair(pair)
    elif not folders:
        raise ValueError(
            f"{folder}: no teacher here; `vitrine keep EXPERIMENT {folder.name}` saves trained models here, or write a "
            f"{PAIR} that names a published pair"
        )
    for model_folder in folders:
        for name in (WEIGHTS, CARD, "tokenizer"):
            if not (model_folder / name).exists():
                raise ValueError(
                    f"{model_folder / name} is missing; `vitrine keep EXPERIMENT NAME` saves a complete teacher"
                )
        saved = load_model(model_folder)
        tokenizer = TextTokenizer(model_folder / "tokenizer")
        fold = "" if model_folder == folder else model_folder.name
        seen = read_seen(model_folder, saved.card["run"].get("seen"))
        yield TeacherModel(fold, saved.model, tokenizer, saved.fingerprint, True, seen)


def read_pair(path: Path) -> TeacherModel:
    """Build the pair of published towers that a model.yaml names; every ValueError names the file."""
    try:
        params = _params(load_params(path))
        sources = resolve_towers(params)
        _check_pretrained(sources)
        _check_scale(params, sources)
        model = build_model(describe(params, sources, True, []), sources)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix('params.yaml: ')}") from None
    fingerprint = digest_value([model.description, weights_hash(dict(model.state_dict()))])
    tokenizer = TextTokenizer(sources["text"].description["tokenizer"])
    return TeacherModel("", model.eval(), tokenizer, fingerprint, trained=False)


def _params(patch: dict[str, Any]) -> ModelParams:
    """Return the complete `model` section."""
    merged = {**PAIR_DEFAULTS, **patch}
    for key, value in PAIR_DEFAULTS.items():
        if isinstance(value, dict) and isinstance(merged[key], dict):
            merged[key] = {**value, **merged[key]}
    return parse_section(ModelParams, {"model": merged})


def _check_pretrained(sources: dict[str, TowerSource]) -> None:
    for name, source in sources.items():
        if source.state is None or source.new:
            parts = "weights" if source.state is None else f"weights for {', '.join(source.new)}"
            raise ValueError(f"model.{name} has no pretrained {parts}, and a teacher is not trained; name a checkpoint")


def _check_scale(params: ModelParams, sources: dict[str, TowerSource]) -> None:
    """Raise ValueError if neither the model.yaml nor the towers' checkpoint has a scale."""
    if params.logit_scale is None and "logit_scale" not in sources["image"].scales:
        raise ValueError(
            "model.logit_scale: the weights have none; write the log of the scale that the pair was trained with, e.g. "
            "4.6052 for CLIP's scale of 100"
        )

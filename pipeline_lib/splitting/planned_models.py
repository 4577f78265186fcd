"""The trained models and predictions that params.yaml names, checked against the folds as soon as these exist.

Training and fusion check again what they read. This check saves the hours of the stages before them, so it skips what
is not there yet.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import paths
from pipeline_lib.params.ensemble import EnsembleParams
from pipeline_lib.params.heads import weights_of
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.phases import LAST, PhasesParams, train_params
from pipeline_lib.params.plan import PlanParams
from pipeline_lib.params.section import parse_section
from pipeline_lib.params.train import TrainParams
from pipeline_lib.splitting.fused_predictions import refused_predictions
from pipeline_lib.splitting.seen import CARD, MODELS, check_unseen, model_folder, read_hashed_products, read_model_seen


def refused(params: dict[str, Any], project: Path = Path()) -> list[str]:
    """Return a line for each start, teacher and experiment to fuse with that the later stages will refuse."""
    unfit = refused_predictions(params, project)
    return [*_refused_models(params, project), *([unfit] if unfit else [])]


def _refused_models(params: dict[str, Any], project: Path) -> list[str]:
    """Return a line for each model that was trained on what this run is measured on."""
    plan, base = parse_section(PlanParams, params), parse_section(TrainParams, params)
    phase = plan.phases[0].name if plan.phases else LAST
    train = train_params(base, parse_section(PhasesParams, params).model_dump()[phase], phase)
    planned = [
        (what, fold, folder)
        for fold in plan.folds
        for what, folder in _models(params, train.init_from, plan.teachers, fold, project)
        if (folder / CARD).is_file()
    ]
    if train.allow_seen or not planned:
        return []
    products = read_hashed_products(project / paths.CATALOGUE, project / paths.FOLDS)
    lines = []
    for what, fold, folder in planned:
        try:
            check_unseen(what, products, fold, read_model_seen(folder), allow=False)
        except ValueError as error:
            lines.append(str(error))
    return lines


def _models(
    params: dict[str, Any], init_from: str, teachers: list[str], fold: int, project: Path
) -> Iterator[tuple[str, Path]]:
    """Yield the setting that names a model, and its folder, of the models that a fold builds on or is fused with."""
    start = model_folder(project / init_from, fold)
    yield f"train.init_from: {start}", start
    if any(name.endswith("_distillation") for name in weights_of(parse_section(LossesParams, params))):
        for name in teachers:
            yield f"plan.teachers: {name}", model_folder(project / paths.STARTS / name, fold)
    for models in sorted((project / parse_section(EnsembleParams, params).fuse_with).glob(f"*/{MODELS}")):
        yield f"ensemble.fuse_with: {models.parent}", models / str(fold)

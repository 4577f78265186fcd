"""Checks all sections of params.yaml at once, so that a misspelt key is found before the first stage runs."""

from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.paths import NO_SPLIT, NO_START, STARTS
from pipeline_lib.params.composed import ComposedParams
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.distillation import check_distillation
from pipeline_lib.params.embed import EmbedParams
from pipeline_lib.params.ensemble import EnsembleParams
from pipeline_lib.params.evaluate import EvaluateParams
from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.params.index import IndexParams
from pipeline_lib.params.inputs import check_inputs
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.phases import PhasesParams, check_phases
from pipeline_lib.params.plan import TRUNK, PlanParams
from pipeline_lib.params.report import ReportParams
from pipeline_lib.params.requirements import (
    check_batches,
    check_composed,
    check_frame_pooling,
    check_heads,
    check_hubness,
    check_search,
)
from pipeline_lib.params.runtime import RuntimeParams
from pipeline_lib.params.section import Keys, Section, load_params, parse_section
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.params.split import SplitParams
from pipeline_lib.params.train import TrainParams


class Params(Keys):
    """Every setting of the pipeline, in the order of the DAG; runtime and the lists of plan come last."""

    data: DataParams
    frames: FramesParams
    split: SplitParams
    shards: ShardsParams
    model: ModelParams
    features: FeaturesParams
    losses: LossesParams
    train: TrainParams
    phases: PhasesParams
    composed: ComposedParams
    embed: EmbedParams
    index: IndexParams
    ensemble: EnsembleParams
    evaluate: EvaluateParams
    report: ReportParams
    runtime: RuntimeParams
    plan: PlanParams


SECTIONS: tuple[type[Section], ...] = tuple(
    field.annotation
    for field in Params.model_fields.values()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
)


def check_params(path: Path) -> None:
    """Raise ValueError for the first fault of the file: an unknown or missing key, or a value that does not fit."""
    check_project(load_params(path), path)


def check_project(params: dict[str, Any], path: Path) -> None:
    """Raise ValueError for the first fault of params, a folder or file that they name and that is missing among them.

    `path` is the file that the message names; the folders lie beside it.
    """
    check_all(params, path)
    for name in parse_section(PlanParams, params).teachers:
        if not (path.parent / STARTS / name).is_dir():
            raise ValueError(
                f"{path}: plan.teachers has {name!r}, but there is no folder {STARTS / name}. Create it: `vitrine keep "
                f"EXPERIMENT {name}` copies trained models, a model.yaml in it names published ones, `dvc pull` "
                "downloads one that is tracked"
            )
    external = parse_section(EnsembleParams, params).fuse_with
    if not (path.parent / external).is_dir():
        raise ValueError(
            f"{path}: ensemble.fuse_with = {external!r}, but there is no such folder. Create it with "
            "`vitrine keep-predictions EXPERIMENT... NAME`, or download a tracked one with `dvc pull`"
        )
    start = parse_section(TrainParams, params).init_from
    if not (path.parent / start).is_dir():
        raise ValueError(
            f"{path}: train.init_from = {start!r}, but there is no such folder. Create it with `vitrine keep "
            f"EXPERIMENT NAME`, download a tracked one with `dvc pull`, or write {NO_START} for none"
        )
    assignment = parse_section(SplitParams, params).assignment
    if not (path.parent / assignment).exists():
        raise ValueError(
            f"{path}: split.assignment = {assignment!r}, but there is no such file. Create it with "
            f"`vitrine split freeze NAME`, download a tracked one with `dvc pull`, or write {NO_SPLIT} for none"
        )
    data_root = parse_section(DataParams, params).root
    root = path.parent / data_root
    tracked, made = root.with_name(f"{root.name}.dvc"), root.parent / "dvc.yaml"
    if not root.is_dir() and not tracked.is_file() and not made.is_file():
        raise ValueError(
            f"{path}: data.root = {data_root!r}, but there is no such folder. Put a table and its "
            "images there and track it with `dvc add`, or download a tracked one with `dvc pull`"
        )


def check_sections(params: dict[str, Any], path: Path) -> None:
    """Raise ValueError for an unknown section, or a key or value that does not fit; settings may contradict others."""
    for kind in SECTIONS:
        parse_section(kind, params)
    known = Params.model_fields
    for section in params:
        if section not in known:
            raise ValueError(f"{path}: {section} is not a section; known sections: {', '.join(sorted(known))}")


def check_all(params: dict[str, Any], path: Path) -> None:
    """Raise ValueError for the first fault of params; `path` is the file that the message names."""
    check_sections(params, path)
    plan, split = parse_section(PlanParams, params), parse_section(SplitParams, params)
    too_large = [fold for fold in plan.folds if fold >= split.num_folds]
    if too_large:
        last = split.num_folds - 1
        raise ValueError(f"{path}: plan.folds has {too_large[0]}, but split.num_folds gives folds 0 .. {last}")
    for name, values in (
        ("folds", plan.folds),
        ("scales", plan.scales),
        ("features", plan.features),
        ("teachers", plan.teachers),
        ("frames", plan.frames),
        ("search", plan.search),
        ("index", plan.index),
        ("judged", plan.judged),
        ("composed", plan.composed),
    ):
        if len(set(values)) != len(values):
            raise ValueError(f"{path}: plan.{name} has the same item twice: {values}")
    if untrained := [fold for fold in plan.search if fold not in plan.folds]:
        raise ValueError(
            f"{path}: plan.search has fold {untrained[0]}, which plan.folds does not train; choose among {plan.folds}"
        )
    if unsearched := [fold for fold in plan.judged if fold not in plan.search]:
        raise ValueError(
            f"{path}: plan.judged has fold {unsearched[0]}, which plan.search has not; choose among {plan.search}, or "
            "add it to plan.search"
        )
    if TRUNK in plan.teachers:
        raise ValueError(
            f"{path}: plan.teachers has {TRUNK!r}, which is the name of the towers before training; rename the "
            f"teacher's folder in {STARTS}"
        )
    check_phases(params, [(step.name, step.after) for step in plan.phases], plan.last)
    check_heads(params, path)
    check_batches(params, path)
    check_search(params, path)
    check_frame_pooling(params, path)
    check_composed(params, path)
    check_distillation(params, path)
    check_hubness(params, path)
    check_inputs(params, path)

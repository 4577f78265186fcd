"""Trains a recipe with tiny towers for a few steps in this process, on 36 products, and reads the results."""

import copy
import functools
import os
from dataclasses import replace
from pathlib import Path

import polars as pl
from teacher_project import extract, keep
from tiny_project import write_project
from watched_run import started

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.experiments.recipes.merging import Cell, cells, merge
from pipeline_lib.experiments.recipes.schema import read_recipe
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.phases import train_params
from pipeline_lib.params.runtime import RuntimeParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.params.train import TrainParams
from pipeline_lib.training.fold import train_fold
from pipeline_lib.training.run_start import RunConfig

ROOT = Path(__file__).parents[2]
# 24 products to train on give one or two steps an epoch.
FEW = {"train": {"batch_size": 16}, "runtime": {"workers": 1, "batch_size": 64, "log_every": 1}}


def tiny_cell(name: str, folder: Path = ROOT / "recipes") -> Cell:
    """The last experiment of a recipe: its cells differ in values, not in the code that they reach."""
    return copy.deepcopy(_last_cell(name, folder))


@functools.cache
def _last_cell(name: str, folder: Path) -> Cell:
    return cells(name, _params(), tiny=True, folder=folder)[-1]


@functools.cache
def _params() -> dict:
    return load_params(ROOT / "params.yaml")


def train(params: dict, inputs, out: Path) -> dict:
    """Train fold 0, phase after phase; return its card and its trainable report (checkpoints: working directory)."""
    params = merge(params, FEW) if params["train"]["accumulate"] == 1 else params
    os.environ.pop("DVC_ROOT", None)
    base, start = parse_section(TrainParams, params), params["train"]["init_from"]
    for phase in [*(step["name"] for step in params["plan"]["phases"]), "train"]:
        place = out if phase == "train" else out.with_name(f"{out.name}-{phase}")
        place.mkdir()
        changes = {**params["phases"][phase], "init_from": start}
        settings = settings_of(params, train_params(base, changes, phase))
        train_fold(settings, started(settings, inputs), 0, place.name, place)
        start = str(place)
    return {"card": read_object(out / "model.json"), "plan": read_object(out / "trainable.json")}


def settings_of(params: dict, train: TrainParams) -> RunConfig:
    return RunConfig(
        model=parse_section(ModelParams, params),
        losses=parse_section(LossesParams, params),
        train=train,
        runtime=parse_section(RuntimeParams, params).model_copy(update={"workers": 0}),
        device="cpu",
    )


def with_teachers(name: str, inputs, place: Path, folder: Path = ROOT / "recipes"):
    """Inputs with the outputs of a recipe's teachers, which are trained once for a project; most recipes have none."""
    teachers, tiny = {}, tiny_cell(name, folder).params
    words = tiny["features"]["max_gb"] if tiny["features"]["teacher_words"] else None
    features = inputs.trunk.parent
    for teacher in _teachers_of(read_recipe(name, folder)):
        start = features.with_name("starts") / f"{teacher}-tiny"
        if not start.exists():
            train(tiny_cell(teacher).params, inputs, place / "teacher")
            keep(place / "teacher", start / "0")
        stores = features / (f"{start.name}-words" if words else start.name)
        if not stores.exists():
            extract(start, inputs, stores.name, words_max_gb=words)
        teachers[start.name] = stores
    return replace(inputs, teachers=teachers)


def _teachers_of(recipe) -> list[str]:
    return [*recipe.distilled_from, *recipe.published_teachers.values()]


def make_inputs(folder: Path):
    """A project of 36 products, each with a second, Chinese text."""
    inputs = write_project(folder)
    queries, relevance = (pl.read_parquet(inputs.catalogue / f"{name}.parquet") for name in ("queries", "relevance"))
    ids = pl.read_parquet(inputs.catalogue / "products.parquet")["product_id"]
    more = pl.DataFrame({"query_id": "zh " + ids, "kind": "text", "text": "红色马克杯 " + ids, "product_id": ids})
    more = more.with_columns(split=pl.lit(None, pl.String))
    pl.concat([queries, more.select(queries.columns)]).write_parquet(inputs.catalogue / "queries.parquet")
    pairs = pl.concat([relevance, more.with_columns(grade=pl.lit(1)).select(relevance.columns)])
    pairs.write_parquet(inputs.catalogue / "relevance.parquet")
    return inputs

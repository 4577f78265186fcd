"""Everything that the report shows, read once from the outputs of the stages.

A branch that does not apply (no test split, no labels, no texts) is an empty table with the right columns, so that a
section only has to ask whether there is anything to show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_json, read_object, read_table, reading
from pipeline_lib.artifacts.schemas import (
    BASELINES_SCHEMA,
    CLASS_SCHEMA,
    CLASS_SCORES_SCHEMA,
    CONFUSION_SCHEMA,
    CURVE_SCHEMA,
    HUBS_SCHEMA,
    ISSUES_SCHEMA,
    MAP_SCHEMA,
    MODALITY_GAIN_SCHEMA,
    OCCURRENCE_SCHEMA,
    RANKINGS_SCHEMA,
    RANKS_SCHEMA,
    RELIABILITY_SCHEMA,
    SIMILARITY_SCHEMA,
)
from pipeline_lib.report.composed_inputs import ComposedTables
from pipeline_lib.report.metric_files import read_metric_files

Tree = dict[str, Any]


@dataclass(frozen=True)
class FoldRun:
    """The training of one fold: its trainable report, its history (one row an epoch) and its model's card."""

    fold: int
    trainable: Tree
    history: pl.DataFrame
    model: Tree

    @property
    def run(self) -> Tree:
        """How the model was trained: settings, loss weights, best epoch; empty for a card without it."""
        run: Tree = self.model.get("run", {})
        return run

    @property
    def best(self) -> Tree:
        """The history's row of the epoch whose weights were saved; empty for a card without it."""
        best: Tree = self.run.get("best", {})
        return best


@dataclass(frozen=True)
class CatalogueTables:
    """The outputs of the stages catalogue and folds; `assigned` has product_id, split and fold."""

    products: pl.DataFrame
    queries: pl.DataFrame
    relevance: pl.DataFrame
    rejects: pl.DataFrame
    counts: Tree
    notes: list[str]
    assigned: pl.DataFrame


@dataclass(frozen=True)
class EnsembleTables:
    """The outputs of the stage ensemble."""

    rankings: pl.DataFrame
    scores: pl.DataFrame
    num_classes: int
    fusion: Tree


@dataclass(frozen=True)
class SpaceTables:
    """The plot tables of the embeddings."""

    similarities: pl.DataFrame
    occurrences: pl.DataFrame
    hubs: pl.DataFrame
    points: pl.DataFrame


@dataclass(frozen=True)
class EvaluationTables:
    """The outputs of the stage evaluate, beside metrics and intervals."""

    ranks: pl.DataFrame
    recall_curve: pl.DataFrame
    confusion: pl.DataFrame
    per_class: pl.DataFrame
    reliability: pl.DataFrame
    label_issues: pl.DataFrame
    baselines: pl.DataFrame
    modality_gain: pl.DataFrame
    skipped: dict[str, str]
    space: SpaceTables


@dataclass(frozen=True)
class ReportInputs:
    """The outputs of one run of the pipeline; `shards` is the folder of the photos, `root` that of the project."""

    metrics: Mapping[str, Any]
    intervals: Mapping[str, Any]
    catalogue: CatalogueTables
    ensemble: EnsembleTables
    evaluation: EvaluationTables
    composed: ComposedTables
    folds: list[FoldRun]
    shards: Path
    root: Path


def read_inputs(folds: Sequence[int], root: Path = Path()) -> ReportInputs:
    """Read the outputs of the stages under `root`, and of the trained folds only those in `folds`."""
    metrics, intervals = read_metric_files(root)
    return ReportInputs(
        metrics=metrics,
        intervals=intervals,
        catalogue=_catalogue(root),
        ensemble=_ensemble(root / paths.ENSEMBLE),
        evaluation=_evaluation(root / paths.EVALUATION),
        composed=ComposedTables.read(root),
        folds=[_fold(fold, root / paths.train_of(fold)) for fold in folds],
        shards=root / paths.SHARDS,
        root=root,
    )


def _catalogue(root: Path) -> CatalogueTables:
    folder = root / paths.CATALOGUE
    counts = read_object(folder / "counts.json", notes=list)
    return CatalogueTables(
        products=read_table(folder / "products.parquet"),
        queries=read_table(folder / "queries.parquet"),
        relevance=read_table(folder / "relevance.parquet"),
        rejects=read_table(folder / "rejects.parquet"),
        counts=counts,
        notes=counts["notes"] + read_json(root / paths.FOLDS / "notes.json", list[str]),
        assigned=read_table(root / paths.FOLDS / "folds.parquet"),
    )


def _ensemble(folder: Path) -> EnsembleTables:
    return EnsembleTables(
        rankings=_table(folder / "rankings.parquet", RANKINGS_SCHEMA),
        scores=_table(folder / "class_scores.parquet", CLASS_SCORES_SCHEMA),
        num_classes=len(read_json(folder / "classes.json", list[str])),
        fusion=read_object(folder / "fusion.json"),
    )


def _evaluation(folder: Path) -> EvaluationTables:
    return EvaluationTables(
        ranks=_table(folder / "ranks.parquet", RANKS_SCHEMA),
        recall_curve=_table(folder / "recall_curve.csv", CURVE_SCHEMA),
        confusion=_table(folder / "confusion.csv", CONFUSION_SCHEMA),
        per_class=_table(folder / "per_class.csv", CLASS_SCHEMA),
        reliability=_table(folder / "reliability.csv", RELIABILITY_SCHEMA),
        label_issues=_table(folder / "label_issues.csv", ISSUES_SCHEMA),
        baselines=_table(folder / "baselines.csv", BASELINES_SCHEMA),
        modality_gain=_table(folder / "modality_gain.csv", MODALITY_GAIN_SCHEMA),
        skipped=read_json(folder / "skipped.json", dict[str, str]),
        space=SpaceTables(
            similarities=_table(folder / "similarity_histogram.csv", SIMILARITY_SCHEMA),
            occurrences=_table(folder / "k_occurrence.csv", OCCURRENCE_SCHEMA),
            hubs=_table(folder / "hubs.csv", HUBS_SCHEMA),
            points=_table(folder / "embedding_map.parquet", MAP_SCHEMA),
        ),
    )


def _fold(fold: int, folder: Path) -> FoldRun:
    with reading(folder / "history.csv"):
        history = pl.read_csv(folder / "history.csv", infer_schema_length=None)
    return FoldRun(fold, read_object(folder / "trainable.json"), history, read_object(folder / "model.json"))


def _table(path: Path, columns: dict[str, Any]) -> pl.DataFrame:
    """Return the named columns of a table; an absent file is a branch that does not apply."""
    if not path.is_file():
        return pl.DataFrame(schema=columns)
    if path.suffix == ".csv":
        with reading(path):
            return pl.read_csv(path, schema_overrides=columns).select(*columns)
    table = read_table(path, columns=list(columns))
    with reading(path):
        return table.cast(pl.Schema(columns))

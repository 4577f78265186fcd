"""Everything the report tells of, read once from what the stages made.

A branch that does not apply (no test split, no labels, no texts) is an empty table of the right columns, so that
every section asks one question only: is there anything to show?
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import read_json
from pipeline_lib.artifacts.schemas import (
    BASELINES_SCHEMA,
    CLASS_SCHEMA,
    CONFUSION_SCHEMA,
    CURVE_SCHEMA,
    ISSUES_SCHEMA,
    MODALITY_GAIN_SCHEMA,
    PREDICTIONS_SCHEMA,
    RANKINGS_SCHEMA,
    RANKS_SCHEMA,
    RELIABILITY_SCHEMA,
)

Tree = dict[str, Any]


@dataclass(frozen=True)
class FoldRun:
    """One fold's training: its plan, its history (one row an epoch) and what its model says of itself."""

    fold: int
    plan: Tree
    history: pl.DataFrame
    model: Tree

    @property
    def run(self) -> Tree:
        """How the model was trained: settings, loss weights, best epoch; empty where the card does not say."""
        run: Tree = self.model.get("run", {})
        return run

    @property
    def best(self) -> Tree:
        """The history's row of the epoch that was kept; empty where the card does not say."""
        best: Tree = self.run.get("best", {})
        return best


@dataclass(frozen=True)
class ReportInputs:
    """The tables and trees of one run of the pipeline."""

    metrics: Tree
    intervals: Tree
    ranks: pl.DataFrame
    recall_curve: pl.DataFrame
    confusion: pl.DataFrame
    per_class: pl.DataFrame
    reliability: pl.DataFrame
    label_issues: pl.DataFrame
    baselines: pl.DataFrame
    modality_gain: pl.DataFrame
    skipped: dict[str, str]
    fusion: Tree
    rankings: pl.DataFrame
    probabilities: pl.DataFrame
    products: pl.DataFrame
    queries: pl.DataFrame
    relevance: pl.DataFrame
    rejects: pl.DataFrame
    counts: Tree
    notes: list[str]
    folds: list[FoldRun]
    shards: Path


def read_inputs(folds: Sequence[int], root: Path = Path()) -> ReportInputs:
    """Read what the stages left under `root`; of the trained folds only those named."""
    catalogue, ensemble, evaluation = (root / folder for folder in (paths.CATALOGUE, paths.ENSEMBLE, paths.EVALUATION))
    return ReportInputs(
        metrics=read_json(root / paths.METRICS),
        intervals=read_json(root / paths.INTERVALS),
        ranks=_table(evaluation / "ranks.parquet", RANKS_SCHEMA),
        recall_curve=_table(evaluation / "recall_curve.csv", CURVE_SCHEMA),
        confusion=_table(evaluation / "confusion.csv", CONFUSION_SCHEMA),
        per_class=_table(evaluation / "per_class.csv", CLASS_SCHEMA),
        reliability=_table(evaluation / "reliability.csv", RELIABILITY_SCHEMA),
        label_issues=_table(evaluation / "label_issues.csv", ISSUES_SCHEMA),
        baselines=_table(evaluation / "baselines.csv", BASELINES_SCHEMA),
        modality_gain=_table(evaluation / "modality_gain.csv", MODALITY_GAIN_SCHEMA),
        skipped=read_json(evaluation / "skipped.json"),
        fusion=read_json(ensemble / "fusion.json"),
        rankings=_table(ensemble / "rankings.parquet", RANKINGS_SCHEMA),
        probabilities=_table(ensemble / "probabilities.parquet", PREDICTIONS_SCHEMA),
        products=pl.read_parquet(catalogue / "products.parquet"),
        queries=pl.read_parquet(catalogue / "queries.parquet"),
        relevance=pl.read_parquet(catalogue / "relevance.parquet"),
        rejects=pl.read_parquet(catalogue / "rejects.parquet"),
        counts=read_json(catalogue / "counts.json"),
        notes=read_json(root / paths.FOLDS / "notes.json"),
        folds=[_fold(fold, root / paths.train_of(fold)) for fold in folds],
        shards=root / paths.SHARDS,
    )


def _fold(fold: int, folder: Path) -> FoldRun:
    history = pl.read_csv(folder / "history.csv", infer_schema_length=None)
    return FoldRun(fold, read_json(folder / "plan.json"), history, read_json(folder / "model.json"))


def _table(path: Path, columns: dict[str, Any]) -> pl.DataFrame:
    """Return the named columns of a table; an absent file is a branch that does not apply."""
    if not path.is_file():
        return pl.DataFrame(schema=columns)
    if path.suffix == ".csv":
        return pl.read_csv(path, schema_overrides=columns).select(*columns)
    return pl.read_parquet(path, columns=list(columns)).cast(pl.Schema(columns))

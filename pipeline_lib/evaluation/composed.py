"""Evaluates composed models from the embeddings of their galleries, beside what the untrained towers give.

A fold's own model ranks its held-out gallery. Test is ranked by the mean of the similarities of all folds' models,
which have no common space. The rows of the towers (image only, text only, their sum) need no training.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_table
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.artifacts.schemas import (
    COMPOSED_BEST_SCHEMA,
    COMPOSED_QUERY_COLUMNS,
    COMPOSED_RANKS_SCHEMA,
    RANKINGS_SCHEMA,
    RANKS_SCHEMA,
)
from pipeline_lib.evaluation.baselines.trunk_features import read_photos, text_vectors, unit, why_apart
from pipeline_lib.evaluation.composed_protocols import COMPOSED_PROTOCOLS, OFF, PREFIX, composed_trees
from pipeline_lib.evaluation.composed_ranks import (
    ComposedGallery,
    plan_composed_galleries,
    rank_composed,
    rank_subsets,
)
from pipeline_lib.evaluation.summary import DIGITS
from pipeline_lib.metrics.composed import Score, changed_answers, vector_scores
from pipeline_lib.params.composed import ComposedKind, ComposedProtocolName
from pipeline_lib.stores.store import FeatureStore, open_store

Tree = dict[str, Any]
# Best products of each query that are stored, for the report and for the benchmarks' prediction files.
DEPTH, SUBSET_DEPTH = 50, 3
UNTRAINED = ("image_only", "text_only", "sum_untrained")
SUBSET = {name: f"subset_{name}" for name in ("rank", "num_gallery", "num_right", "tied_right", "tied_wrong")}


@dataclass(frozen=True)
class ComposedModels:
    """The models to evaluate: kinds and folds of `plan`, and the protocol."""

    kinds: Sequence[ComposedKind]
    folds: Sequence[int]
    protocol: ComposedProtocolName


@dataclass(frozen=True)
class ComposedResults:
    """Figures and intervals as trees, ranks of each query (COMPOSED_RANKS_SCHEMA), best products, notes for the user.

    `best` are the best DEPTH products of each query, `within` the best SUBSET_DEPTH of its subset. `off` are ranks by
    the same models with their fusion switched off, for which there are no figures.
    """

    figures: Tree = field(default_factory=dict)
    intervals: Tree = field(default_factory=dict)
    ranks: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COMPOSED_RANKS_SCHEMA))
    best: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COMPOSED_BEST_SCHEMA))
    within: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COMPOSED_BEST_SCHEMA))
    off: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COMPOSED_RANKS_SCHEMA))
    notes: tuple[str, ...] = ()

    def trees(self) -> tuple[Tree, Tree]:
        """Return the trees of figures and of intervals."""
        return self.figures, self.intervals

    def ranked(self) -> pl.DataFrame:
        """Return RANKS_SCHEMA rows: `composed_KIND` among the gallery, `composed_KIND_subset` within subsets."""
        within = self.ranks.filter(pl.col("subset_rank").is_not_null()).with_columns(
            direction=pl.col("direction") + "_subset", **{name: pl.col(source) for name, source in SUBSET.items()}
        )
        return pl.concat([table.select(list(RANKS_SCHEMA)) for table in (self.ranks, within)])

    def rankings(self, kind: ComposedKind) -> dict[str, pl.DataFrame]:
        """Return RANKINGS_SCHEMA rows of a kind's best products, in galleries and in subsets, for prediction files."""
        own = pl.col("direction") == f"{PREFIX}{kind}"
        tables = {"recall": self.best, "recall_subset": self.within}
        return {name: table.filter(own).select(list(RANKINGS_SCHEMA)) for name, table in tables.items()}

    def write(self, out: Path) -> None:
        """Write composed_ranks.parquet and composed_best.parquet, empty tables without a model."""
        write_table(pl.concat([self.ranks, self.off]), out / "composed_ranks.parquet")
        write_table(self.best, out / "composed_best.parquet")


def evaluate_composed(
    models: ComposedModels, catalogue: Path, products: pl.DataFrame, trunk: Path | None
) -> ComposedResults:
    """Rank the composed queries of the listed folds and of test by each kind of model and by the untrained towers.

    `products` has product_id, media, text, label, group_id, split and fold; `trunk` is the folder of the towers'
    features. Raises ValueError if a store is that of another catalogue.
    """
    if not models.kinds:
        return ComposedResults()
    queries = read_table(catalogue / "queries.parquet", COMPOSED_QUERY_COLUMNS)
    relevance, slices = (read_table(catalogue / f"{name}.parquet") for name in ("relevance", "query_slices"))
    protocol = COMPOSED_PROTOCOLS[models.protocol]
    galleries = plan_composed_galleries(products, queries, relevance, models.folds)
    untrained = TowerScores.read(trunk, products)
    ranks, off = [pl.DataFrame(schema=COMPOSED_RANKS_SCHEMA)], [pl.DataFrame(schema=COMPOSED_RANKS_SCHEMA)]
    best, within = [pl.DataFrame(schema=COMPOSED_BEST_SCHEMA)], [pl.DataFrame(schema=COMPOSED_BEST_SCHEMA)]
    for gallery in galleries:
        for name, score in [*_trained(models, gallery), *untrained.of(gallery), *_switched_off(models, gallery)]:
            kind = pl.lit(f"{PREFIX}{name}").alias("direction")
            rows, listed = rank_composed(gallery, score, protocol.rule, f"{PREFIX}{name}", DEPTH)
            (off if name.endswith(OFF) else ranks).append(rows)
            best.append(listed.select(kind, *RANKINGS_SCHEMA))
            if name in models.kinds and gallery.queries["subset"].list.len().sum():
                within.append(rank_subsets(gallery, score, SUBSET_DEPTH).select(kind, *RANKINGS_SCHEMA))
    table = pl.concat(ranks)
    figures, intervals = composed_trees(table, protocol, slices)
    _add_paraphrases(figures, table, queries, relevance)
    tables = (table, pl.concat(best), pl.concat(within), pl.concat(off))
    return ComposedResults(figures, intervals, *tables, untrained.notes)


def _trained(models: ComposedModels, gallery: ComposedGallery) -> Iterator[tuple[str, Score]]:
    for kind in models.kinds:
        folders = [paths.composed_of(kind, fold) for fold in _folds_of(models, gallery)]
        yield kind, mean_score([stored_score(folder, gallery) for folder in folders])


def _switched_off(models: ComposedModels, gallery: ComposedGallery) -> Iterator[tuple[str, Score]]:
    """Yield the scores of the kinds with a fusion once more, with alpha = 0 in the same models."""
    for kind in models.kinds:
        folders = [paths.composed_of(kind, fold) for fold in _folds_of(models, gallery)]
        if all((folder / paths.COMPOSED_QUERIES_OFF).is_dir() for folder in folders):
            scores = [stored_score(folder, gallery, paths.COMPOSED_QUERIES_OFF) for folder in folders]
            yield f"{kind}{OFF}", mean_score(scores)


def _folds_of(models: ComposedModels, gallery: ComposedGallery) -> Sequence[int]:
    return models.folds if gallery.fold is None else [gallery.fold]


def stored_score(folder: Path, gallery: ComposedGallery, name: str = "queries") -> Score:
    """Return the scores of one fold's model for a gallery, from its stores `name` and `products`, which are mapped.

    Raises ValueError if they are not those of the gallery.
    """
    queries, products = open_store(folder / name), open_store(folder / "products")
    vectors = _rows_of(queries, gallery.query_ids)
    targets = _rows_of(products, gallery.product_ids)
    return vector_scores(np.asarray(vectors, np.float32), targets.reshape(len(targets), -1, queries.header.dim))


def mean_score(scores: Sequence[Score]) -> Score:
    """Return the mean of several models' scores."""
    return lambda part: sum((score(part) for score in scores[1:]), scores[0](part)) / len(scores)


def _rows_of(store: FeatureStore, ids: Sequence[str]) -> NDArray[np.floating[Any]]:
    """Return the consecutive rows of a store that a gallery has, as a view of the mapped matrix."""
    start = int(store.positions(ids[:1])[0])
    if store.ids[start : start + len(ids)] != list(ids):
        raise ValueError(f"{store.folder}: not the gallery of this catalogue and its folds; run `dvc repro`")
    rows: NDArray[np.floating[Any]] = np.asarray(store.matrix)[start : start + len(ids)]
    return rows


@dataclass(frozen=True)
class TowerScores:
    """Unit vectors of the untrained towers: image (products, width), and text by sentence if both share a space.

    A product is its first photo, as composed models see it.
    """

    row_of: dict[str, int] = field(default_factory=dict)
    image: NDArray[np.float32] | None = None
    text: FeatureStore | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, trunk: Path | None, products: pl.DataFrame) -> "TowerScores":
        """Read the stored features of the towers; without a joint space there is an image only."""
        image = None if trunk is None else read_photos(trunk, products, first_alone=True)
        if trunk is None or image is None:
            return cls(notes=(f"composed: {', '.join(UNTRAINED)} are left out: no features of the towers are stored",))
        row_of = {key: row for row, key in enumerate(products["product_id"])}
        if reason := why_apart(trunk):
            return cls(row_of, image, None, (f"composed: {', '.join(UNTRAINED[1:])} are left out: {reason}",))
        return cls(row_of, image, open_store(trunk / "text"))

    def of(self, gallery: ComposedGallery) -> Iterator[tuple[str, Score]]:
        """Yield the scores of a gallery by image only, text only, and their sum, as far as there are vectors."""
        if self.image is None:
            return
        targets = self.image[[self.row_of[key] for key in gallery.product_ids]][:, None]
        images = self.image[[self.row_of[key] for key in gallery.queries["reference_product_id"]]]
        yield UNTRAINED[0], vector_scores(images, targets)
        if self.text is not None:
            texts = text_vectors(self.text, gallery.queries["text"].to_list())
            yield UNTRAINED[1], vector_scores(texts, targets)
            yield UNTRAINED[2], vector_scores(unit(images + texts), targets)


def _add_paraphrases(figures: Tree, ranks: pl.DataFrame, queries: pl.DataFrame, relevance: pl.DataFrame) -> None:
    """Add `paraphrases` to each split: how often sentences for one reference and its targets differ in the answer."""
    best = relevance.filter(pl.col("grade") == pl.col("grade").max().over("query_id"))
    targets = best.group_by("query_id").agg(pl.col("product_id").sort().str.join("\0").alias("targets"))
    asked = queries.select("query_id", "reference_product_id").join(targets, on="query_id")
    group = pl.struct("reference_product_id", "targets").rank("dense").cast(pl.String)
    grouped = asked.select("query_id", group=group)
    rows = ranks.join(grouped, on="query_id").filter(pl.len().over("direction", "split", "group") > 1)
    for (direction, split), part in rows.group_by("direction", "split", maintain_order=True):
        share = changed_answers(part["first_product_id"].to_list(), part["group"].to_list())
        kind = str(direction).removeprefix(PREFIX)
        figures["composed"][kind][str(split)]["paraphrases"] = {
            "num_groups": part["group"].n_unique(),
            "num_queries": part.height,
            "first_answer_changes": round(share, DIGITS),
        }

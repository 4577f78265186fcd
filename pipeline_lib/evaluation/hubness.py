"""Figures under corrections of hubness, in a tree of their own beside the plain ones, with the difference to them.

Inverted softmax and QB-Norm correct text -> image by a bank of training texts. Dual softmax corrects both directions by
all test queries at once, so its figures are not those of a search, which answers one query at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.evaluation.jackknife import clusters, paired_differences
from pipeline_lib.evaluation.median_interval import median_difference
from pipeline_lib.evaluation.ranks import open_galleries
from pipeline_lib.evaluation.summary import DIGITS, Tree, retrieval_trees
from pipeline_lib.execution.meter import Meter
from pipeline_lib.metrics.gallery_ranks import (
    Gallery,
    RankedRows,
    direction_ranks,
    drop_queries_without_relevance,
    gallery_positives,
)
from pipeline_lib.metrics.hubness import (
    Correct,
    corrected_ranks,
    dual_softmax,
    first_of_bank,
    inverted_softmax,
    log_sums,
    qb_norm,
)
from pipeline_lib.metrics.ranges import figure_range
from pipeline_lib.metrics.ranking import RANK_FIGURES, rank_statistic, ranks_of
from pipeline_lib.metrics.relevance import Positions
from pipeline_lib.metrics.score_counts import Matrix
from pipeline_lib.metrics.top_k import id_places, top_k
from pipeline_lib.params.evaluate import BANK_KINDS, EvaluateParams, HubnessKind
from pipeline_lib.stores.store import HEADER, FeatureStore, open_store

BLOCK = 16_384
TEXT, IMAGE = "text_to_image", "image_to_text"
# What a query of one direction is corrected by, beside itself.
SOURCE_SCHEMA = {
    "split": pl.String,
    "direction": pl.String,
    "queries": pl.Int64,
    "training_queries": pl.Int64,
    "test_queries": pl.Int64,
    "corrected": pl.Int64,
}


@dataclass(frozen=True)
class CorrectedGallery:
    """A gallery without unanswered queries, the products that answer its queries, and its bank, None without one."""

    gallery: Gallery
    positives: Positions
    bank: FeatureStore | None

    def blocks(self) -> Iterator[Matrix]:
        """Yield the vectors of the bank; ValueError if there is none."""
        here = f"{self.gallery.split} (fold {self.gallery.fold})"
        if self.bank is None or not self.bank.header.count:
            raise ValueError(
                f"evaluate.hubness: {here} has no bank of training texts; set embed.query_bank above 0, and run `dvc "
                "repro`"
            )
        for start in range(0, self.bank.header.count, BLOCK):
            yield np.asarray(self.bank.matrix[start : start + BLOCK], np.float32)

    @property
    def bank_size(self) -> int:
        """Return the number of training texts."""
        return self.bank.header.count if self.bank is not None else 0


@dataclass(frozen=True)
class Corrected:
    """One direction of a gallery: its correction, and how many training and test queries it reads.

    `num_corrected` queries are corrected; the others keep their scores.
    """

    direction: str
    correct: Correct
    training_queries: int
    test_queries: int
    num_corrected: int


def _inverted_softmax(own: CorrectedGallery, temperature: float) -> Iterator[Corrected]:
    sums = log_sums(own.blocks(), own.gallery.products, temperature)
    count = len(own.gallery.query_ids)
    yield Corrected(TEXT, inverted_softmax(sums, temperature), own.bank_size, 0, count)


def _qb_norm(own: CorrectedGallery, temperature: float) -> Iterator[Corrected]:
    gallery, places = own.gallery, id_places(own.gallery.product_ids)
    hubs = first_of_bank(own.blocks(), gallery.products, places)
    corrected = hubs[top_k(gallery.queries, gallery.products, 1, places)[0].ravel()]
    sums = log_sums(own.blocks(), gallery.products, temperature)
    yield Corrected(TEXT, qb_norm(sums, temperature, corrected), own.bank_size, 0, int(corrected.sum()))


def _dual_softmax(own: CorrectedGallery, temperature: float) -> Iterator[Corrected]:
    queries, products = own.gallery.queries, own.gallery.products
    for direction, asked, ranked in ((TEXT, queries, products), (IMAGE, products, queries)):
        sums = log_sums([asked], ranked, temperature)
        yield Corrected(direction, dual_softmax(sums, temperature), 0, len(asked), len(asked))


# Contract: a gallery and a temperature -> the correction of each direction that has one.
CORRECTIONS: dict[HubnessKind, Callable[[CorrectedGallery, float], Iterator[Corrected]]] = {
    "inverted_softmax": _inverted_softmax,
    "dual_softmax": _dual_softmax,
    "qb_norm": _qb_norm,
}


@dataclass(frozen=True)
class HubnessResults:
    """Trees of figures and of intervals, and RANKS_SCHEMA rows with the direction `text_to_image_KIND`."""

    figures: Tree
    intervals: Tree
    ranks: pl.DataFrame

    def trees(self) -> tuple[Tree, Tree]:
        """Return the trees of figures and of intervals."""
        return self.figures, self.intervals


def evaluate_hubness(
    folds: Sequence[int],
    params: EvaluateParams,
    relevance: pl.DataFrame,
    groups: Mapping[str, str],
    plain: pl.DataFrame,
    meter: Meter,
) -> HubnessResults:
    """Return {split: {retrieval_hubness: {KIND: figures}}} of the corrections of evaluate.hubness; empty for none.

    `plain` are the RANKS_SCHEMA rows without a correction, for the difference; `groups` maps products to groups.
    Raises ValueError for a gallery without its bank.
    """
    figures: Tree = {}
    intervals: Tree = {}
    frames = [pl.DataFrame(schema=RANKS_SCHEMA)]
    if not params.hubness:
        return HubnessResults(figures, intervals, frames[0])
    ranked: dict[str, list[pl.DataFrame]] = {kind: [frames[0]] for kind in params.hubness}
    sources: dict[str, list[pl.DataFrame]] = {kind: [pl.DataFrame(schema=SOURCE_SCHEMA)] for kind in params.hubness}
    meter.begin("corrections of galleries")
    for own in _galleries(folds, relevance, groups, any(kind in BANK_KINDS for kind in params.hubness)):
        for kind in params.hubness:
            for corrected in CORRECTIONS[kind](own, getattr(params.hubness_temperature, kind)):
                ranked[kind].append(_rank(own, corrected))
                sources[kind].append(_source(own.gallery.split, corrected, ranked[kind][-1].height))
            meter.add(1)
    for kind in params.hubness:
        rows = pl.concat(ranked[kind])
        trees = _with_differences(retrieval_trees(rows, params.bootstrap, params.seed), rows, plain)
        for target, tree in zip((figures, intervals), trees, strict=True):
            for split, branch in tree.items():
                target.setdefault(split, {}).setdefault("retrieval_hubness", {})[kind] = branch["retrieval"]
        _add_sources(figures, kind, pl.concat(sources[kind]), getattr(params.hubness_temperature, kind))
        frames.append(rows.with_columns(pl.col("direction") + f"_{kind}"))
    return HubnessResults(figures, intervals, pl.concat(frames))


def _galleries(
    folds: Sequence[int], relevance: pl.DataFrame, groups: Mapping[str, str], with_bank: bool
) -> Iterator[CorrectedGallery]:
    for (split, fold), (queries, products) in open_galleries(folds).items():
        matrices = (queries.ids, queries.rows(queries.ids), products.ids, products.rows(products.ids))
        gallery = Gallery(split, fold, *matrices, [groups[key] for key in products.ids])
        gallery = drop_queries_without_relevance(gallery, relevance)
        if gallery.query_ids:
            positives = gallery_positives(gallery.query_ids, gallery.product_ids, relevance)
            folder = queries.folder.parent / paths.QUERY_BANK
            bank = open_store(folder) if with_bank and (folder / HEADER).is_file() else None
            yield CorrectedGallery(gallery, positives, bank)


def _rank(own: CorrectedGallery, corrected: Corrected) -> pl.DataFrame:
    gallery, positives = own.gallery, own.positives
    if corrected.direction == TEXT:
        ranks = corrected_ranks(gallery.queries, gallery.products, positives, corrected.correct)
        first = positives.indices[positives.indptr[:-1]]
        rows = RankedRows(gallery.query_ids, first, ranks, positives.counts())
        return direction_ranks(gallery, TEXT, rows, len(gallery.product_ids))
    queries_of = positives.transposed(len(gallery.product_ids))
    asked = np.flatnonzero(queries_of.counts())
    answered = Positions(np.concatenate([[0], np.cumsum(queries_of.counts()[asked])]), queries_of.indices)
    ranks = corrected_ranks(gallery.products[asked], gallery.queries, answered, corrected.correct)
    rows = RankedRows([gallery.product_ids[int(row)] for row in asked], asked, ranks, answered.counts())
    return direction_ranks(gallery, IMAGE, rows, len(gallery.query_ids))


def _source(split: str, corrected: Corrected, num_queries: int) -> pl.DataFrame:
    sizes = (corrected.training_queries, corrected.test_queries, corrected.num_corrected)
    return pl.DataFrame([(split, corrected.direction, num_queries, *sizes)], schema=SOURCE_SCHEMA, orient="row")


def _add_sources(figures: Tree, kind: str, sources: pl.DataFrame, temperature: float) -> None:
    """Add to each direction what its queries are corrected by: means over the queries, as the size of the gallery."""
    for (split, direction), part in sources.group_by("split", "direction", maintain_order=True):
        weights = part["queries"].to_numpy()
        figures[str(split)]["retrieval_hubness"][kind][str(direction)] |= {
            "temperature": temperature,
            "num_training_queries": round(float(np.average(part["training_queries"].to_numpy(), weights=weights))),
            "num_test_queries": round(float(np.average(part["test_queries"].to_numpy(), weights=weights))),
            "num_corrected": int(part["corrected"].sum()),
        }


def _with_differences(trees: tuple[Tree, Tree], ranks: pl.DataFrame, plain: pl.DataFrame) -> tuple[Tree, Tree]:
    """Add `difference`, the corrected figures minus the plain ones of the same queries, to both trees."""
    key = ["split", "direction", "fold", "query_id"]
    tied = ("rank", "tied_right", "tied_wrong")
    both = ranks.join(plain, on=key, nulls_equal=True, suffix="_plain", maintain_order="left")
    assert both.height == ranks.height, "a corrected query has no plain rank"
    for (split, direction), part in both.group_by("split", "direction", maintain_order=True):
        before = ranks_of(part.select(pl.col(f"{name}_plain").alias(name) for name in tied))
        after, groups = ranks_of(part), clusters(part["group_id"])
        gains = paired_differences(rank_statistic(before), rank_statistic(after), groups)
        by_name = dict(zip(RANK_FIGURES, gains, strict=True)) | {
            "median_rank": median_difference(before, after, groups)
        }
        values, limits = (tree[str(split)]["retrieval"][str(direction)] for tree in trees)
        for name, gain in by_name.items():
            least, most = figure_range(name, values["num_gallery"])
            by_name[name] = gain.within(most - least)
        values["difference"] = {name: round(gain.difference, DIGITS) for name, gain in by_name.items()}
        # A single group says nothing of the difference: its limits are infinite, which JSON has no number for.
        limits["difference"] = {
            name: [round(gain.low, DIGITS), round(gain.high, DIGITS)]
            for name, gain in by_name.items()
            if np.isfinite([gain.low, gain.high]).all()
        }
    return trees

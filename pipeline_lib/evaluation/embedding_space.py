"""Figures and plot tables of the embeddings of each gallery: how similar pairs are, and how the space is used.

Each gallery has its own model, so figures are computed one gallery at a time; an out-of-fold figure is the mean over
the folds, weighted by their products.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_table
from pipeline_lib.artifacts.read import reading
from pipeline_lib.artifacts.schemas import (
    HUBS_SCHEMA,
    MAP_SCHEMA,
    OCCURRENCE_SCHEMA,
    RANKINGS_SCHEMA,
    SIMILARITY_SCHEMA,
)
from pipeline_lib.evaluation.ranks import open_galleries
from pipeline_lib.evaluation.summary import DIGITS, Tree
from pipeline_lib.metrics.embedding_space import (
    Values,
    alignment,
    chance_of_hubs,
    modality_gap,
    negative_pairs,
    pair_cosines,
    principal_plane,
    sampled_rows,
    skewness,
    uniformity,
    unit_rows,
)
from pipeline_lib.metrics.gallery_ranks import gallery_positives
from pipeline_lib.metrics.relevance import Positions
from pipeline_lib.params.evaluate import EvaluateParams, ProjectionKind
from pipeline_lib.stores.store import FeatureStore

# Pairs of a histogram, rows of a uniformity, and products of a map: larger sets are sampled.
MAX_PAIRS, MAX_ROWS, MAX_POINTS = 200_000, 4_096, 1_000
BINS = 100  # of cosines, from -1 to 1
NEIGHBOURS = 10  # a hub is among the first so many of many queries
HUBS = 10
HUB_FIGURES, CHANCE = ("hub_skewness", "never_found"), "chance."
POSITIVE, NEGATIVE = "positive", "negative"
PHOTO, TEXT = "photo", "text"


@dataclass(frozen=True)
class EmbeddingGallery:
    """The embeddings of one gallery, and the products that answer each of its queries."""

    split: str
    fold: int | None
    queries: FeatureStore
    products: FeatureStore
    positives: Positions


@dataclass(frozen=True)
class EmbeddingSpace:
    """Figures by split, and the plot tables by file name."""

    figures: Tree = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def trees(self) -> tuple[Tree, Tree]:
        """Return the tree of figures, and an empty one of intervals: they describe a space, and are no claims."""
        return self.figures, {}

    def write(self, out: Path) -> None:
        """Write the plot tables."""
        for name, table in self.tables.items():
            write_table(table, out / name)


def evaluate_embeddings(
    folds: Sequence[int], params: EvaluateParams, relevance: pl.DataFrame, products: pl.DataFrame
) -> EmbeddingSpace:
    """Return the figures {split: {embedding: figures}} of all galleries that the ensemble wrote, and their tables.

    `products` (product_id, label) name the points of the map, which is of the test gallery, or of the first fold's.
    """
    galleries = list(_galleries(folds, relevance))
    found = _found()
    occurrences = [_occurrences(gallery, found) for gallery in galleries]
    sizes = [len(gallery.products.ids) for gallery in galleries]
    figures: Tree = {}
    for split in dict.fromkeys(gallery.split for gallery in galleries):
        own = [place for place, gallery in enumerate(galleries) if gallery.split == split]
        values = [_figures(galleries[place], occurrences[place], params.seed) for place in own]
        means = _mean(values, [sizes[place] for place in own])
        chance = {name.removeprefix(CHANCE): value for name, value in means.items() if name.startswith(CHANCE)}
        plain = {name: value for name, value in means.items() if not name.startswith(CHANCE)}
        figures[split] = {"embedding": plain | ({"chance": chance} if chance else {})}
    shown = [gallery for gallery in galleries if gallery.split == "test"] or galleries[:1]
    tables = {
        "similarity_histogram.csv": _table([_histogram(one, params.seed) for one in galleries], SIMILARITY_SCHEMA),
        "k_occurrence.csv": _table([_occurrence_rows(one) for one in occurrences], OCCURRENCE_SCHEMA),
        "hubs.csv": _table([one.head(HUBS) for one in occurrences], HUBS_SCHEMA),
        "embedding_map.parquet": _table([_map(one, products, params) for one in shown], MAP_SCHEMA),
    }
    for name, keys in (("similarity_histogram.csv", ("pair", "low", "high")), ("k_occurrence.csv", ("times",))):
        summed = tables[name].group_by("split", *keys).sum().sort("split", *keys)
        tables[name] = summed.select(tables[name].columns)
    return EmbeddingSpace(figures, tables)


def _galleries(folds: Sequence[int], relevance: pl.DataFrame) -> Iterator[EmbeddingGallery]:
    for (split, fold), (queries, products) in open_galleries(folds).items():
        positives = gallery_positives(queries.ids, products.ids, relevance)
        if len(positives.indices):
            yield EmbeddingGallery(split, fold, queries, products, positives)


def _positive_cosines(gallery: EmbeddingGallery, seed: int) -> Values:
    positives = gallery.positives
    chosen = sampled_rows(len(positives.indices), MAX_PAIRS, seed)
    query = np.repeat(np.arange(len(positives)), positives.counts())[chosen]
    return pair_cosines(gallery.queries.matrix, gallery.products.matrix, query, positives.indices[chosen])


def _figures(gallery: EmbeddingGallery, occurrences: pl.DataFrame, seed: int) -> dict[str, float | None]:
    sides = {"image": gallery.products, "text": gallery.queries}
    spread = {
        f"uniformity_{side}": uniformity(store.matrix[sampled_rows(len(store.ids), MAX_ROWS, seed)])
        if len(store.ids) > 1
        else None
        for side, store in sides.items()
    }
    return {
        "alignment": alignment(_positive_cosines(gallery, seed)),
        **spread,
        "modality_gap": modality_gap(gallery.products.matrix, gallery.queries.matrix),
        **_hub_figures(occurrences),
    }


def _hub_figures(occurrences: pl.DataFrame) -> dict[str, float | None]:
    """Return the figures of hubs, and those of lists of random products with the prefix `chance.`."""
    if occurrences.is_empty():
        return dict.fromkeys([*HUB_FIGURES, *(f"{CHANCE}{name}" for name in HUB_FIGURES)])
    times = occurrences["times"].to_numpy()
    by_chance = chance_of_hubs(occurrences["num_queries"][0], len(times), NEIGHBOURS)
    figures = dict(zip(HUB_FIGURES, (skewness(times), float((times == 0).mean())), strict=True))
    return figures | {f"{CHANCE}{name}": value for name, value in zip(HUB_FIGURES, by_chance, strict=True)}


def _mean(figures: Sequence[Mapping[str, float | None]], sizes: Sequence[int]) -> dict[str, float]:
    """Return the mean of each figure, weighted by `sizes`; one that a gallery lacks is left out."""
    columns = {name: [one[name] for one in figures] for name in figures[0]}
    return {
        name: round(float(np.average([value for value in values if value is not None], weights=sizes)), DIGITS)
        for name, values in columns.items()
        if None not in values
    }


def _found() -> pl.DataFrame:
    """Return split, fold, product_id and `times`: how many text queries have a product among the first NEIGHBOURS.

    The lists are counted while they are read: they are many times as long as the catalogue. Shorter lists than that
    (ensemble.depth) say nothing of it, so nothing is counted then.
    """
    path = paths.ENSEMBLE / "rankings.parquet"
    lists = pl.scan_parquet(path) if path.is_file() else pl.LazyFrame(schema=RANKINGS_SCHEMA)
    with reading(path):
        longest = lists.select(pl.col("rank").max()).collect(engine="streaming").item()
        first = lists.filter(pl.col("rank") <= NEIGHBOURS, pl.lit((longest or 0) >= NEIGHBOURS))
        return first.group_by("split", "fold", "product_id").len("times").collect(engine="streaming")


def _occurrences(gallery: EmbeddingGallery, found: pl.DataFrame) -> pl.DataFrame:
    """Return HUBS_SCHEMA rows of all products of a gallery, the most often found first; none if all are always found.

    `times` is how often a product is among the first NEIGHBOURS of a text query.
    """
    own = found.filter((pl.col("split") == gallery.split) & pl.col("fold").eq_missing(pl.lit(gallery.fold, pl.Int64)))
    if own.is_empty() or len(gallery.products.ids) <= NEIGHBOURS:
        return pl.DataFrame(schema=HUBS_SCHEMA)
    ids = pl.DataFrame({"product_id": gallery.products.ids}, schema={"product_id": pl.String})
    rows = ids.join(own.select("product_id", "times"), on="product_id", how="left").with_columns(
        pl.lit(gallery.split).alias("split"),
        pl.lit(gallery.fold, pl.Int64).alias("fold"),
        pl.col("times").fill_null(0),
        num_queries=pl.lit(len(gallery.queries.ids), pl.Int64),
    )
    ordered = rows.sort("times", "product_id", descending=[True, False])
    return ordered.select(*HUBS_SCHEMA).cast(pl.Schema(HUBS_SCHEMA))


def _occurrence_rows(occurrences: pl.DataFrame) -> pl.DataFrame:
    return occurrences.group_by("split", "times").len("products")


def _histogram(gallery: EmbeddingGallery, seed: int) -> pl.DataFrame:
    pairs = negative_pairs(gallery.positives, len(gallery.products.ids), MAX_PAIRS, seed)
    negative = pair_cosines(gallery.queries.matrix, gallery.products.matrix, *pairs)
    frames = [pl.DataFrame(schema=SIMILARITY_SCHEMA)]
    for pair, cosines in ((POSITIVE, _positive_cosines(gallery, seed)), (NEGATIVE, negative)):
        counts, edges = np.histogram(np.clip(cosines, -1, 1), bins=BINS, range=(-1, 1))
        filled = np.flatnonzero(counts)
        columns = {"low": edges[filled].round(DIGITS), "high": edges[filled + 1].round(DIGITS), "count": counts[filled]}
        named = pl.DataFrame(columns).with_columns(pl.lit(gallery.split).alias("split"), pl.lit(pair).alias("pair"))
        frames.append(named.select(*SIMILARITY_SCHEMA))
    return pl.concat(frames)


def _map(gallery: EmbeddingGallery, products: pl.DataFrame, params: EvaluateParams) -> pl.DataFrame:
    """Return MAP_SCHEMA rows: sampled products, and a text query of each that has one."""
    positives = gallery.positives.transposed(len(gallery.products.ids))
    with_text = np.flatnonzero(positives.counts())
    chosen = with_text[sampled_rows(len(with_text), MAX_POINTS, params.seed)]
    texts = positives.indices[positives.indptr[chosen]]
    ids = [gallery.products.ids[row] for row in chosen]
    vectors = [unit_rows(gallery.products.matrix[chosen]), unit_rows(gallery.queries.matrix[texts])]
    points, explained = PROJECTIONS[params.projection](np.concatenate(vectors), params.seed)
    named = pl.DataFrame({"product_id": ids}, schema={"product_id": pl.String})
    label = named.join(products.select("product_id", "label"), on="product_id", how="left", maintain_order="left")
    frames = [
        label.with_columns(modality=pl.lit(side), x=pl.Series(own[:, 0]), y=pl.Series(own[:, 1]))
        for side, own in zip((PHOTO, TEXT), np.split(points.round(DIGITS), 2), strict=True)
    ]
    fixed = {"split": pl.lit(gallery.split), "fold": pl.lit(gallery.fold, pl.Int64)}
    fixed |= {"projection": pl.lit(params.projection), "explained": pl.lit(explained, pl.Float64)}
    return pl.concat(frames).with_columns(**fixed).select(*MAP_SCHEMA).cast(pl.Schema(MAP_SCHEMA))


def _pca(vectors: Values, _seed: int) -> tuple[Values, float | None]:
    plane = principal_plane(vectors)
    return plane.points, round(plane.explained, DIGITS)


def _umap(vectors: Values, seed: int) -> tuple[Values, float | None]:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ValueError(
            "evaluate.projection = umap needs the package umap-learn: `pip install umap-learn`, or set "
            "evaluate.projection=pca"
        ) from error
    neighbours = min(15, len(vectors) - 1)
    points: Values = UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed, n_jobs=1).fit_transform(vectors)
    return points.astype(np.float64), None


# Contract: unit vectors (n, dim) and a seed -> coordinates (n, 2), and the share of the variance that they have.
PROJECTIONS: dict[ProjectionKind, Callable[[Values, int], tuple[Values, float | None]]] = {"pca": _pca, "umap": _umap}


def _table(parts: Sequence[pl.DataFrame], schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    empty = pl.DataFrame(schema=dict(schema))
    return pl.concat([empty, *(part.select(*schema).cast(pl.Schema(schema)) for part in parts if len(part))])

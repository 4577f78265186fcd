"""The examples of the report: queries with their results, the worst misses, the most confident mistakes.

The seed alone decides which queries are chosen. The gallery takes every n-th query of the list ordered by rank, so its
share of hits is about that of all queries.
"""

import hashlib
import random
from dataclasses import dataclass

import polars as pl

from pipeline_lib.report.inputs import ReportInputs
from pipeline_lib.report.photos import Thumbnails

SHOWN = 5


@dataclass(frozen=True)
class Item:
    """One product with its rank (0 = not among the stored ranks) and whether it is a right answer."""

    product_id: str
    text: str
    label: str | None
    photo: str
    rank: int = 0
    score: float | None = None
    right: bool = False


@dataclass(frozen=True)
class Card:
    """A query, the rank of its best right answer among `num_gallery`, its first results, and an expected product."""

    query_id: str
    text: str
    fold: int | None
    rank: float
    num_gallery: int
    num_right: int
    items: list[Item]
    expected: Item | None


@dataclass(frozen=True)
class Mistake:
    """A product whose predicted class is wrong, and the probability of that prediction."""

    item: Item
    predicted: str
    probability: float


def spread_sample(ranks: pl.DataFrame, num: int, seed: int) -> pl.DataFrame:
    """Return `num` rows evenly spaced over the rows ordered by rank; the seed shuffles equal ranks."""
    hashes = [hashlib.sha256(f"{seed}:{query_id}".encode()).hexdigest() for query_id in ranks["query_id"]]
    ordered = ranks.with_columns(pl.Series("hash", hashes, pl.String)).sort("rank", "hash").drop("hash")
    if num >= len(ordered):
        return ordered
    start = random.Random(seed).random()
    return ordered[[int((position + start) * len(ordered) / num) for position in range(num)]]


def worst(ranks: pl.DataFrame, num: int) -> pl.DataFrame:
    """Return the rows whose best right answer is not ranked first, the worst rank first."""
    return ranks.filter(pl.col("rank") > 1).sort("rank", "query_id", descending=[True, False]).head(num)


class Gallery:
    """Cards of one split's text queries, from rankings, relevance and photos."""

    def __init__(self, inputs: ReportInputs, split: str, photos: Thumbnails) -> None:
        self.split = split
        of_split = inputs.evaluation.ranks.filter(pl.col("split") == split)
        self.ranks = of_split.filter(pl.col("direction") == "text_to_image")
        self._rankings = inputs.ensemble.rankings.filter(pl.col("split") == split)
        self._photos = photos
        self._texts: dict[str, str] = dict(inputs.catalogue.queries.select("query_id", "text").iter_rows())
        self._products = described(inputs.catalogue.products)
        ranked = of_split.filter(pl.col("direction") == "image_to_text")
        self._galleries = ranked.select(pl.col("query_id").alias("product_id"), "fold")
        self._relevance = inputs.catalogue.relevance.filter(pl.col("grade") > 0)

    def cards(self, chosen: pl.DataFrame) -> list[Card]:
        """Return a card for each chosen row of the ranks, in its order."""
        return [self._card(row) for row in chosen.iter_rows(named=True)]

    def _card(self, row: dict[str, object]) -> Card:
        query_id, fold = str(row["query_id"]), row["fold"]
        here = pl.col("fold").eq_missing(pl.lit(fold, pl.Int64))
        relevant = self._relevance.filter(pl.col("query_id") == query_id)
        in_gallery = relevant.join(self._galleries.filter(here), on="product_id", how="semi")
        right = in_gallery if len(in_gallery) else relevant
        returned = self._rankings.filter((pl.col("query_id") == query_id) & here).sort("rank")
        right_ids = set(right["product_id"])
        items = [self._item(*result, right_ids) for result in _results(returned.head(SHOWN))]
        hits = returned.filter(pl.col("product_id").is_in(list(right_ids)))
        expected: Item | None = None
        if len(hits):
            expected = self._item(*_results(hits.head(1))[0], right_ids)
        elif len(right):
            first = right.sort("grade", "product_id", descending=[True, False])["product_id"][0]
            expected = self._item(first, 0, None, right_ids)
        return Card(
            query_id=query_id,
            text=self._texts.get(query_id, ""),
            fold=None if fold is None else int(str(fold)),
            rank=float(str(row["rank"])),
            num_gallery=int(str(row["num_gallery"])),
            num_right=len(right_ids),
            items=items,
            expected=expected,
        )

    def _item(self, product_id: str, rank: int, score: float | None, right_ids: set[str]) -> Item:
        text, label = self._products.get(product_id, ("", None))
        return Item(product_id, text, label, self._photos.of(product_id), rank, score, product_id in right_ids)


def confident_mistakes(inputs: ReportInputs, split: str, num: int, photos: Thumbnails) -> list[Mistake]:
    """Return the products of a split whose predicted class is wrong, the most confident first."""
    scored = inputs.ensemble.scores.filter(pl.col("split") == split)
    # A product without a rank is in no figure: its model had to predict another class.
    wrong = scored.filter(pl.col("label_rank").is_not_null(), pl.col("label") != pl.col("predicted"))
    wrong = wrong.sort("confidence", "product_id", descending=[True, False]).head(num)
    products = described(inputs.catalogue.products)
    mistakes = []
    columns = wrong.select("product_id", "label", "predicted", "confidence")
    for product_id, label, predicted, confidence in columns.iter_rows():
        text, _ = products.get(product_id, ("", None))
        mistakes.append(Mistake(Item(product_id, text, label, photos.of(product_id)), predicted, confidence))
    return mistakes


def described(products: pl.DataFrame) -> dict[str, tuple[str, str | None]]:
    """Return text and label of each product by its id."""
    rows = products.select("product_id", "text", "label").iter_rows()
    return {product_id: (text, label) for product_id, text, label in rows}


def _results(rows: pl.DataFrame) -> list[tuple[str, int, float]]:
    return list(rows.select("product_id", "rank", "score").iter_rows())

"""The section of composed retrieval: figures, example queries with the results of each kind, and gate maps.

A card has the reference, the sentence and a target, and a row of first results for the untrained towers and for each
trained kind. A result that the row above ranks elsewhere says where it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.params.report import ReportParams
from pipeline_lib.report.composed_figures import (
    PLAIN,
    Change,
    FigureTable,
    SliceTable,
    changes,
    figure_tables,
    off_titles,
    paraphrase_lines,
    slice_tables,
    titles_of,
)
from pipeline_lib.report.gallery import SHOWN, Item, described, spread_sample
from pipeline_lib.report.gate_maps import overlay_uri
from pipeline_lib.report.headline import SPLITS
from pipeline_lib.report.inputs import ReportInputs
from pipeline_lib.report.photos import Thumbnails

TARGET, ANSWER, REFERENCE = "target", "answer", "reference"
Gates = dict[tuple[str, str], NDArray[np.float64]]


@dataclass(frozen=True)
class Result:
    """One result of a query: `mark` is TARGET, ANSWER, REFERENCE or empty; `before` its place in the row above."""

    item: Item
    mark: str
    before: str


@dataclass(frozen=True)
class Strip:
    """The first results of one kind, the rank of its best target among `num_gallery`, and a gate map or empty text."""

    kind: str
    title: str
    rank: float
    num_gallery: int
    results: list[Result]
    gate: str


@dataclass(frozen=True)
class ComposedCard:
    """One composed query with the results of each kind; `target` is the first of `num_targets`."""

    query_id: str
    text: str
    fold: int | None
    reference: Item
    target: Item
    num_targets: int
    strips: list[Strip]


@dataclass(frozen=True)
class GateScale:
    """The scale of a kind's gate maps: their smallest and largest value, the fusion, its factor now and at first."""

    title: str
    fusion: str
    low: float
    high: float
    alpha: float
    start: float


@dataclass(frozen=True)
class ComposedView:
    """What the section shows; cards are of `split_name`, chosen from `num_ranked` queries."""

    tables: list[FigureTable]
    slices: list[SliceTable]
    paraphrases: list[str]
    changes: list[Change]
    cards: list[ComposedCard]
    scales: list[GateScale]
    split_name: str
    num_ranked: int


def composed_view(inputs: ReportInputs, params: ReportParams, photos: Thumbnails) -> ComposedView | None:
    """Return the section of composed retrieval; None without a composed model."""
    tables = inputs.composed
    if not tables.kinds:
        return None
    folds = [fold.fold for fold in inputs.folds]
    titles = titles_of(tables, folds[0])
    figures = figure_tables(inputs, titles)
    split = figures[0].split
    # Beside the kinds, those of them whose fusion can be switched off: they have ranks and no figures.
    ranked = titles | off_titles(tables, titles)
    cards = ComposedCards(inputs, split, ranked, photos)
    chosen = spread_sample(cards.ranks(cards.kinds[-1]), params.queries, params.seed)
    shown, scales = cards.of(chosen)
    return ComposedView(
        tables=figures,
        slices=slice_tables(inputs, titles, split),
        paraphrases=paraphrase_lines(inputs, titles, split),
        changes=changes(tables, ranked, split),
        cards=shown,
        scales=scales,
        split_name=SPLITS[split],
        num_ranked=figures[0].num_queries,
    )


class ComposedCards:
    """Cards of one split's composed queries; `kinds` are the rows of a card, untrained first.

    Above a kind with a fusion is the same kind with the fusion switched off.
    """

    def __init__(self, inputs: ReportInputs, split: str, titles: Mapping[str, str], photos: Thumbnails) -> None:
        self._tables, self._photos, self._titles = inputs.composed, photos, titles
        self._ranks = inputs.composed.ranks.filter(pl.col("split") == split)
        trained = [name for kind in self._tables.trained for name in (self._tables.off(kind), kind) if name]
        self.kinds = [kind for kind in PLAIN if kind in titles][:1] + trained
        self._folds = [fold.fold for fold in inputs.folds]
        self._queries = inputs.catalogue.queries
        self._products = described(inputs.catalogue.products)
        self._relevance = inputs.catalogue.relevance.filter(pl.col("grade") > 0)

    def ranks(self, kind: str) -> pl.DataFrame:
        """Return the ranks of one kind."""
        return self._ranks.filter(pl.col("direction") == kind)

    def of(self, chosen: pl.DataFrame) -> tuple[list[ComposedCard], list[GateScale]]:
        """Return a card for each chosen row of the ranks, in its order, and the scales of the gate maps on them."""
        query_ids = chosen["query_id"].to_list()
        wanted = pl.col("query_id").is_in(query_ids)
        best = self._tables.best(query_ids).select("direction", "query_id", "product_id", "score")
        listed: dict[tuple[str, str], list[tuple[str, float]]] = {}
        for kind, query_id, product_id, score in best.iter_rows():
            listed.setdefault((kind, query_id), []).append((product_id, score))
        grades: dict[str, dict[str, int]] = {query_id: {} for query_id in query_ids}
        for query_id, product_id, grade in self._relevance.filter(wanted).sort("product_id").iter_rows():
            grades[query_id][product_id] = grade
        asked = {row["query_id"]: row for row in self._queries.filter(wanted).iter_rows(named=True)}
        gates = self._gates(chosen)
        scales = {kind: self._scale(kind, gates) for kind in dict.fromkeys(kind for kind, _ in gates)}
        cards = []
        for query_id, fold in chosen.select("query_id", "fold").iter_rows():
            query, own = asked[query_id], grades[query_id]
            reference = query["reference_product_id"]
            strips = self._strips(query_id, reference, listed, own)
            strips = [self._with_gate(strip, query_id, reference, gates, scales) for strip in strips]
            targets = _targets(own)
            target = self._item(targets[0])
            card = ComposedCard(query_id, query["text"], fold, self._item(reference), target, len(targets), strips)
            cards.append(card)
        return cards, list(scales.values())

    def _strips(
        self,
        query_id: str,
        reference: str,
        listed: Mapping[tuple[str, str], Sequence[tuple[str, float]]],
        grades: Mapping[str, int],
    ) -> list[Strip]:
        targets, strips = set(_targets(grades)), []
        above: list[str] | None = None
        for kind in self.kinds:
            results = listed.get((kind, query_id), [])
            row = self.ranks(kind).filter(pl.col("query_id") == query_id).row(0, named=True)
            shown = []
            for place, (product_id, score) in enumerate(results[:SHOWN], start=1):
                mark = TARGET if product_id in targets else ANSWER if product_id in grades else ""
                mark = REFERENCE if product_id == reference else mark
                item = self._item(product_id, place, score, product_id in targets)
                shown.append(Result(item, mark, _before(product_id, place, above)))
            strips.append(Strip(kind, self._titles[kind], row["rank"], row["num_gallery"], shown, ""))
            above = [product_id for product_id, _ in results]
        return strips

    def _item(self, product_id: str, rank: int = 0, score: float | None = None, right: bool = False) -> Item:
        text, label = self._products.get(product_id, ("", None))
        return Item(product_id, text, label, self._photos.of(product_id), rank, score, right)

    def _gates(self, chosen: pl.DataFrame) -> Gates:
        """Return the map (rows, columns) of each kind and query: of the query's fold, or of the first for test."""
        found: Gates = {}
        for kind in self._tables.trained:
            for fold in self._folds:
                own = chosen.filter(pl.col("fold").fill_null(self._folds[0]) == fold)["query_id"].to_list()
                for query_id, rows, gate in self._tables.gates(kind, fold, own).iter_rows():
                    found[kind, query_id] = np.array(gate).reshape(rows, -1)
        return found

    def _scale(self, kind: str, gates: Gates) -> GateScale:
        run = self._tables.run(kind, self._folds[0])
        values = np.concatenate([gate.ravel() for (own, _), gate in gates.items() if own == kind])
        params = run["composed"]
        factors = (run["fusion_alpha"], params["fusion_alpha"])
        return GateScale(self._titles[kind], params["fusion"], float(values.min()), float(values.max()), *factors)

    def _with_gate(
        self, strip: Strip, query_id: str, reference: str, gates: Gates, scales: Mapping[str, GateScale]
    ) -> Strip:
        gate = gates.get((strip.kind, query_id))
        if gate is None:
            return strip
        scale, view = scales[strip.kind], self._tables.run(strip.kind, self._folds[0])["view"]
        photo = overlay_uri(self._photos.encoded(reference), gate, (scale.low, scale.high), view)
        return replace(strip, gate=photo)


def _targets(grades: Mapping[str, int]) -> list[str]:
    """Return the products with the highest grade."""
    highest = max(grades.values(), default=0)
    return [product_id for product_id, grade in grades.items() if grade == highest]


def _before(product_id: str, place: int, above: list[str] | None) -> str:
    """Return where the row above has a product, empty for the same place or without such a row."""
    if above is None or (place <= len(above) and above[place - 1] == product_id):
        return ""
    return f"was {above.index(product_id) + 1}" if product_id in above else f"was > {len(above)}"

"""The embedding space: similarities, alignment and uniformity, the gap between photos and texts, hubs, maps."""

from dataclasses import dataclass

import polars as pl

from pipeline_lib.report.gallery import Item, described
from pipeline_lib.report.headline import SPLITS
from pipeline_lib.report.space_figures import map_figures, occurrence_figures, similarity_figures, space_rows
from pipeline_lib.report.view import ReportView, Section, inline

MAX_HUBS = 5


@dataclass(frozen=True)
class Hub:
    """A product that many queries find, how many of them do, and of how many."""

    item: Item
    times: int
    num_queries: int


def embeddings(view: ReportView) -> Section | None:
    """Return the section; None for a run without figures of its space, as one without texts."""
    splits, rows = space_rows(view.inputs.metrics)
    if not rows:
        return None
    tables = view.inputs.evaluation.space
    figures = similarity_figures(tables.similarities) | map_figures(tables.points, view.names)
    figures |= occurrence_figures(tables.occurrences)
    hubs, split = _hubs(view)
    context = {
        "splits": splits,
        "rows": rows,
        "figures": inline(figures),
        "hubs": hubs,
        "hub_split": split,
        "has_map": not tables.points.is_empty(),
        "is_pca": "pca" in tables.points["projection"],
    }
    return Section("embeddings", "Embeddings", "sections/embeddings.html.j2", context, figures=figures)


def _hubs(view: ReportView) -> tuple[list[Hub], str]:
    """Return the products that most queries of the test gallery, or of the first fold's, find; and the split's name."""
    hubs = view.inputs.evaluation.space.hubs
    split = next((split for split in SPLITS if split in hubs["split"]), "")
    first = hubs.filter(pl.col("split") == split).sort("fold", "times", "product_id", descending=[False, True, False])
    own = first.filter(pl.col("fold").eq_missing(pl.lit(first["fold"][0], pl.Int64))) if len(first) else first
    products = described(view.inputs.catalogue.products)
    shown = []
    for product_id, times, num_queries in own.head(MAX_HUBS).select("product_id", "times", "num_queries").iter_rows():
        text, label = products.get(product_id, ("", None))
        shown.append(Hub(Item(product_id, text, label, view.photos.of(product_id)), times, num_queries))
    return shown, SPLITS.get(split, "")

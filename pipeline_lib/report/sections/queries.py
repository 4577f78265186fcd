"""Example queries with their results, the clips among them frame by frame, and the worst misses."""

import polars as pl

from pipeline_lib.report.filmstrips import FrameWeights, film_view
from pipeline_lib.report.gallery import Gallery, spread_sample, worst
from pipeline_lib.report.headline import SPLITS
from pipeline_lib.report.view import Context, ReportView, Section


def gallery(view: ReportView) -> Section | None:
    """Return the section of example queries; None without text queries, or if none is asked for."""
    if view.gallery is None or not view.params.queries:
        return None
    chosen = spread_sample(view.gallery.ranks, view.params.queries, view.params.seed)
    context = {"gallery": view.gallery.cards(chosen)} | _counts(view, view.gallery)
    return Section("gallery", "Gallery", "sections/gallery.html.j2", context)


def clips(view: ReportView) -> Section | None:
    """Return the section of clips; None if no result is a clip."""
    if view.gallery is None:
        return None
    weights = FrameWeights(view.inputs.root, view.folds, view.scales)
    films = film_view(view.gallery, view.params, view.photos, weights)
    if films is None:
        return None
    context = {"films": films} | _counts(view, view.gallery)
    return Section("clips", "Clips", "sections/filmstrips.html.j2", context, styles=films.styles)


def misses(view: ReportView) -> Section | None:
    """Return the section of the worst-ranked queries; None without text queries."""
    if view.gallery is None:
        return None
    cards = view.gallery.cards(worst(view.gallery.ranks, view.params.misses))
    context = {"misses": cards, "num_missed": len(view.gallery.ranks.filter(pl.col("rank") > 1))}
    return Section("misses", "Worst misses", "sections/misses.html.j2", context | _counts(view, view.gallery), "Misses")


def _counts(view: ReportView, of: Gallery) -> Context:
    return {"num_ranked": len(of.ranks), "gallery_split": SPLITS[of.split], "seed": view.params.seed}

"""Figures of the embedding space: similarities of right and wrong pairs, maps of the embeddings, and hubs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from pipeline_lib.report.class_names import ClassNames, shortened
from pipeline_lib.report.headline import SPLITS, Tree, branch, count, percent
from pipeline_lib.report.svg import NUM_COLOURS, Axes, Line, line_chart, nice_ticks
from pipeline_lib.report.svg_plots import Cloud, bar_chart, scatter_chart

PAIRS = {"positive": "right pairs", "negative": "wrong pairs"}
MODALITIES = {"photo": "photos", "text": "texts"}
BINS_PER_UNIT = 50  # of the cosine, in SIMILARITY_SCHEMA rows
FULL = 10  # pairs of a drawn bin of a similarity histogram, on average
AXES = {"pca": ("first component", "second component"), "umap": ("UMAP 1", "UMAP 2")}


@dataclass(frozen=True)
class SpaceRow:
    """One figure of the space: what it is, which values are good, and its value and chance in each split as text."""

    name: str
    better: str
    values: list[tuple[str, str]]


# Key of metrics.json -> name, which values are better, format.
FIGURES = {
    "alignment": ("Alignment: squared distance of right pairs", "lower", "{:.3f}".format),
    "uniformity_image": ("Uniformity of photos", "lower", "{:.3f}".format),
    "uniformity_text": ("Uniformity of texts", "lower", "{:.3f}".format),
    "modality_gap": ("Modality gap: distance of the mean photo from the mean text", "neither", "{:.3f}".format),
    "hub_skewness": ("Hubness: skewness of how often a product is found", "near 0", "{:.2f}".format),
    "never_found": ("Products among the first 10 of no query", "lower", percent),
}


def space_rows(metrics: Tree) -> tuple[list[str], list[SpaceRow]]:
    """Return the names of the splits with figures of their space, test first, and a row for each figure."""
    splits = {split: values for split in SPLITS if (values := branch(metrics, split, "embedding"))}
    rows = [
        SpaceRow(name, better, [_with_chance(own, key, written) for own in splits.values()])
        for key, (name, better, written) in FIGURES.items()
        if any(key in own for own in splits.values())
    ]
    return [SPLITS[split] for split in splits], rows


def _with_chance(figures: Tree, key: str, written: Callable[[float], str]) -> tuple[str, str]:
    chance = branch(figures, "chance")
    return (written(figures[key]) if key in figures else "–", written(chance[key]) if key in chance else "")


def similarity_figures(histogram: pl.DataFrame) -> dict[str, str]:
    """Return, for each split of SIMILARITY_SCHEMA rows, the shares of right and of wrong pairs at each cosine."""
    figures = {}
    for split, name in SPLITS.items():
        own = {pair: histogram.filter((pl.col("split") == split) & (pl.col("pair") == pair)) for pair in PAIRS}
        width = bin_width([rows for rows in own.values() if len(rows)])
        lines = []
        for order, (pair, title) in enumerate(PAIRS.items()):
            rows = own[pair].sort("low")
            if rows.is_empty():
                continue
            middle = (pl.col("low") + pl.col("high")) / 2
            mean = rows.select((middle * pl.col("count")).sum() / pl.col("count").sum()).item()
            points = steps(list(rows.select("low", "high", "count").iter_rows()), width)
            # Adding 0 makes a negative zero positive.
            name_and_mean = f"{title}, mean {round(mean, 2) + 0.0:.2f}"
            lines.append(Line(name_and_mean, points, order, dashed=pair == "negative", marked=False))
        if lines:
            ends = [x for line in lines for x, _ in line.points]
            ticks = nice_ticks(min(ends), max(ends), 6)
            axes = Axes("cosine of a text and a photo", "share of pairs", percent=True, x_ticks=ticks)
            figures[f"similarity_{split}"] = line_chart(f"Similarity of pairs, {name.lower()}", lines, axes)
    return figures


def bin_width(histograms: Sequence[pl.DataFrame]) -> int:
    """Return how many bins are drawn as one, so that of each histogram a drawn bin has FULL pairs on average."""
    widths = [1]
    for rows in histograms:
        span = round((rows["high"].to_numpy().max() - rows["low"].to_numpy().min()) * BINS_PER_UNIT)
        full = (width for width in (1, 2, 5) if int(rows["count"].sum()) * width >= FULL * span)
        widths.append(next(full, 5))
    return max(widths)


def steps(rows: Sequence[tuple[float, float, int]], width: int) -> list[tuple[float, float]]:
    """Return the outline of a histogram's bars (low, high, count) as points, `width` bins as one; y are shares.

    Bins without a row are 0. A bin's number, from the cosine 0 on, decides which drawn bin it is in.

    >>> steps([(0.0, 0.02, 1), (0.06, 0.08, 3)], 1)
    [(0.0, 0.0), (0.0, 0.25), (0.02, 0.25), (0.02, 0.0), (0.06, 0.0), (0.06, 0.75), (0.08, 0.75), (0.08, 0.0)]
    """
    total = sum(count for _, _, count in rows)
    drawn: dict[int, int] = {}
    for low, _, number in rows:
        place = round(low * BINS_PER_UNIT) // width
        drawn[place] = drawn.get(place, 0) + number
    ends = {place: [round((place + end) * width / BINS_PER_UNIT, 6) for end in (0, 1)] for place in drawn}
    points: list[tuple[float, float]] = [(ends[min(drawn)][0], 0.0)]
    for place, number in sorted(drawn.items()):
        low, high = ends[place]
        if low > points[-1][0]:
            points += [(points[-1][0], 0.0), (low, 0.0)]
        points += [(low, number / total), (high, number / total)]
    return [*points, (points[-1][0], 0.0)]


def map_figures(points: pl.DataFrame, names: ClassNames) -> dict[str, str]:
    """Return the maps of MAP_SCHEMA rows: by modality, and by category if there are labels."""
    if points.is_empty():
        return {}
    split, projection, explained = points.select("split", "projection", "explained").row(0)
    across, upward = AXES[projection]
    note = f"; both have {percent(explained)} of the variance" if explained is not None else ""
    labels = (f"{across}{note}", upward)
    title = f"{SPLITS[split].lower()}, {projection.upper()}"
    sides = [
        Cloud(name, _points(points.filter(pl.col("modality") == side)), order)
        for order, (side, name) in enumerate(MODALITIES.items())
    ]
    figures = {"embeddings_by_modality": scatter_chart(f"Photos and texts, {title}", sides, *labels)}
    photos = points.filter(pl.col("modality") == "photo")
    if clouds := _categories(photos, names):
        figures["embeddings_by_category"] = scatter_chart(f"Photos by category, {title}", clouds, *labels)
    return figures


def _categories(photos: pl.DataFrame, names: ClassNames) -> list[Cloud]:
    """Return a cloud for each of the most frequent labels, and one for the rest; none without labels."""
    photos = photos.with_columns(pl.col("label").replace(_few_categories(photos["label"].drop_nulls(), names)))
    counted = photos.drop_nulls("label").group_by("label").len().sort("len", "label", descending=[True, False])
    shown = counted["label"].head(NUM_COLOURS).to_list()
    clouds = [
        Cloud(shortened(names.short(label)), _points(photos.filter(pl.col("label") == label)), order)
        for order, label in enumerate(shown)
    ]
    rest = photos.filter(~pl.col("label").is_in(shown) | pl.col("label").is_null())
    return [*clouds, *([Cloud("other", _points(rest), None)] if clouds and len(rest) else [])]


def _few_categories(labels: pl.Series, names: ClassNames) -> dict[str, str]:
    """Return what each label counts as: the level of its path that has most categories, of those with a colour each.

    Labels that are no paths, and few enough ones, stay as they are.
    """
    paths = {label: names.parts(label) for label in labels.unique()}
    if not names.are_paths or len(paths) <= NUM_COLOURS:
        return {}
    depth = max(map(len, paths.values()))
    levels = [{label: " > ".join(parts[:level]) for label, parts in paths.items()} for level in range(1, depth + 1)]
    few = [level for level in levels if 1 < len(set(level.values())) <= NUM_COLOURS]
    return few[-1] if few else {}


def _points(rows: pl.DataFrame) -> list[tuple[float, float]]:
    return list(rows.select("x", "y").iter_rows())


def occurrence_figures(occurrences: pl.DataFrame) -> dict[str, str]:
    """Return, for each split of OCCURRENCE_SCHEMA rows, how many products are found how often."""
    figures = {}
    for split, name in SPLITS.items():
        rows = occurrences.filter(pl.col("split") == split).sort("times")
        if rows.is_empty():
            continue
        bins = occurrence_bins(list(rows.select("times", "products").iter_rows()))
        never = float(rows.filter(pl.col("times") == 0)["products"].sum())
        total, most = float(rows["products"].sum()), rows["times"][-1]
        note = f"{count(never)} of {count(total)} are never found; the most frequent one is found {count(most)} times"
        title = f"How often a product is found, {name.lower()}"
        labels = ("queries that have it among their first 10", "products")
        figures[f"hubs_{split}"] = bar_chart(title, bins, *labels, note)
    return figures


def occurrence_bins(rows: Sequence[tuple[int, int]], most: int = 60) -> list[tuple[float, float, float]]:
    """Return bars (low, high, products) of (times, products), of one number each, or of as many as give `most` bars.

    >>> occurrence_bins([(0, 5), (2, 1)]), occurrence_bins([(0, 5), (1, 4), (3, 1)], most=2)
    ([(-0.5, 0.5, 5.0), (1.5, 2.5, 1.0)], [(-0.5, 1.5, 9.0), (1.5, 3.5, 1.0)])
    """
    width = -(-(rows[-1][0] + 1) // most)
    sums: dict[int, float] = {}
    for times, products in rows:
        sums[times // width] = sums.get(times // width, 0.0) + products
    return [(width * place - 0.5, width * (place + 1) - 0.5, value) for place, value in sums.items()]

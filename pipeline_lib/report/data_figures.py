"""The catalogue in figures: counts, lengths of texts, sizes of photos, and how alike the folds are."""

from math import floor, log10
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.read import read_table
from pipeline_lib.report.headline import count, percent
from pipeline_lib.report.inputs import CatalogueTables
from pipeline_lib.report.svg_plots import bar_chart
from pipeline_lib.shards.write import MANIFEST

Rows = list[list[str]]
BARS = 30
SPREAD = ["Smallest", "Median", "Largest"]
BALANCE = ["Part", "Products", "Share", "With label", "Classes", "Largest class", "Distance of class shares"]


def count_facts(catalogue: CatalogueTables) -> list[tuple[str, str]]:
    """Return name and value of what the catalogue has, and of what it lacks."""
    products, counts = catalogue.products, catalogue.counts
    photos = products["media"].list.len()
    rows = [(name.capitalize(), count(counts[name])) for name in ("products", "queries", "classes")]
    rows.append(("Photos and clips", count(float(photos.sum()))))
    lacking = {
        "Products without a photo or clip": int((photos == 0).sum()),
        "Products without a text": int((products["text"].fill_null("").str.len_chars() == 0).sum()),
        "Products without a label": products["label"].null_count(),
    }
    rows += [(name, f"{count(number)} ({percent(number / max(1, len(products)))})") for name, number in lacking.items()]
    return [*rows, ("Rejected rows and photos", count(counts["rejected"]))]


def size_rows(catalogue: CatalogueTables, shards: Path) -> Rows:
    """Return the spread of text lengths, photos a product, and of the sizes of the photos in the shards."""
    texts = catalogue.products["text"].fill_null("").str.len_chars()
    spreads = {
        "Characters of a text": texts.filter(texts > 0),
        "Photos or clips of a product": catalogue.products["media"].list.len(),
    }
    sizes = read_table(shards / MANIFEST, ["width", "height", "size"])
    spreads |= {
        "Width of a stored photo, px": sizes["width"],
        "Height of a stored photo, px": sizes["height"],
        "Size of a stored photo, kB": sizes["size"] / 1000,
    }
    return [[name, *_spread(values.drop_nulls())] for name, values in spreads.items()]


def _spread(values: pl.Series) -> list[str]:
    if values.is_empty():
        return ["–"] * 3
    written = "{:,.1f}".format if values.dtype.is_float() else "{:,.0f}".format
    return [written(one) for one in (values.min(), values.quantile(0.5, "nearest"), values.max())]


def text_figures(catalogue: CatalogueTables) -> dict[str, str]:
    """Return the histogram of text lengths in characters; none without texts."""
    lengths = catalogue.products["text"].fill_null("").str.len_chars()
    lengths = lengths.filter(lengths > 0)
    if lengths.is_empty():
        return {}
    bins = length_bins(lengths)
    note = f"{count(len(lengths))} texts; half of them have at most {count(lengths.quantile(0.5, 'nearest') or 0)}"
    return {"text_lengths": bar_chart("Length of the texts", bins, "characters", "products", note)}


def length_bins(lengths: pl.Series) -> list[tuple[float, float, float]]:
    """Return at most BARS bars (low, high, texts) of a width of 1, 2 or 5 times a power of ten; low counts, high not.

    >>> length_bins(pl.Series([1, 2, 2, 90]))
    [(0, 5, 3), (90, 95, 1)]
    """
    raw = max(1.0, (lengths.to_numpy().max() + 1) / BARS)
    power = 10 ** floor(log10(raw))
    width = next(int(factor * power) for factor in (1, 2, 5, 10) if factor * power >= raw)
    counted = (lengths // width).rename("place").value_counts(name="texts").sort("place")
    return [(place * width, (place + 1) * width, texts) for place, texts in counted.iter_rows()]


def balance_rows(catalogue: CatalogueTables) -> Rows:
    """Return BALANCE of each fold, of what no fold holds out, and of test.

    The distance is half the sum of the differences of the class shares to those of the catalogue: 0 for the same
    shares, 1 for no class in common (total variation).
    """
    labels = catalogue.products.select("product_id", "label").join(catalogue.assigned, on="product_id")
    whole = _shares(labels)
    parts = [(f"Fold {fold}", pl.col("fold") == fold) for fold in labels["fold"].drop_nulls().unique().sort()]
    rows = []
    parts.append(("In training for every fold", pl.col("fold").is_null() & (pl.col("split") == "train")))
    for name, chosen in [*parts, ("Test", pl.col("split") == "test")]:
        own = labels.filter(chosen)
        if own.is_empty():
            continue
        shares = _shares(own)
        both = whole.join(shares, on="label", how="left", suffix="_own").fill_null(0.0)
        distance = (both["share"] - both["share_own"]).abs().sum() / 2
        largest = shares.sort("share", "label", descending=[True, False])
        rows.append(
            [
                name,
                count(len(own)),
                percent(len(own) / len(labels)),
                count(len(own) - own["label"].null_count()),
                count(len(shares)),
                percent(largest["share"][0]) if len(largest) else "–",
                f"{distance:.3f}" if len(shares) else "–",
            ]
        )
    return rows


def _shares(labels: pl.DataFrame) -> pl.DataFrame:
    """Return the share of each label among the labelled products."""
    counted = labels.drop_nulls("label").group_by("label").len()
    return counted.select("label", share=pl.col("len") / pl.col("len").sum())

"""Figures of the embedding space: outlines of histograms, maps by modality and category, hubs; and their section."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import polars as pl
import pytest
from made_space import FIGURES

from pipeline_lib.artifacts.schemas import MAP_SCHEMA, OCCURRENCE_SCHEMA, SIMILARITY_SCHEMA
from pipeline_lib.evaluation.embedding_space import BINS
from pipeline_lib.report.class_names import ClassNames
from pipeline_lib.report.space_figures import (
    BINS_PER_UNIT,
    bin_width,
    map_figures,
    occurrence_bins,
    occurrence_figures,
    similarity_figures,
    space_rows,
    steps,
)


def histogram(*rows):
    return pl.DataFrame(rows, schema=SIMILARITY_SCHEMA, orient="row")


def test_the_drawn_bins_are_those_that_evaluate_writes():
    assert 2 * BINS_PER_UNIT == BINS


@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_area_under_an_outline_is_all_pairs(width):
    rows = [(low / 50, (low + 1) / 50, count) for low, count in ((-9, 3), (-8, 1), (0, 4), (1, 2), (17, 5))]
    points = steps(rows, width)
    area = sum((right[0] - left[0]) * left[1] for left, right in pairwise(points))
    assert area == pytest.approx(width / 50)  # every drawn bin is so wide, and their shares add up to 1
    xs = [x for x, _ in points]
    assert xs == sorted(xs) and points[0][1] == points[-1][1] == 0


def test_few_pairs_are_drawn_in_wide_bins():
    def of(count):
        return histogram(*(("test", "positive", low / 50, (low + 1) / 50, count) for low in range(20)))

    assert [bin_width([of(count)]) for count in (40, 10, 5, 2, 1)] == [1, 1, 2, 5, 5]
    assert bin_width([of(40), of(2)]) == 5  # shares of both kinds are of bins of one width


def test_the_similarity_figure_names_both_means():
    rows = histogram(("test", "positive", 0.4, 0.42, 30), ("test", "negative", -0.02, 0.0, 10),
                     ("test", "negative", 0.0, 0.02, 9))  # fmt: skip
    figures = similarity_figures(rows)
    assert list(figures) == ["similarity_test"]
    assert "right pairs, mean 0.41" in figures["similarity_test"]
    # The mean is -0.0005, which is no negative zero in two decimals; an outline has no marks.
    assert "wrong pairs, mean 0.00" in figures["similarity_test"]
    assert "<circle" not in figures["similarity_test"]
    assert similarity_figures(rows.clear()) == {}


def points(labels, projection="pca", explained=0.25):
    rows = [
        ("test", None, projection, side, f"p{number}", label, float(number), float(-number), explained)
        for side in ("photo", "text")
        for number, label in enumerate(labels)
    ]
    return pl.DataFrame(rows, schema=MAP_SCHEMA, orient="row")


def clouds(figure):
    """Name -> number of points, from the text for screen readers."""
    label = ElementTree.fromstring(figure).attrib["aria-label"].partition("points of ")[2]
    return {name: int(number) for name, number in re.findall(r"([^,()]+?) \((\d+)\)(?:, )?", label)}


def test_maps_have_every_point_once_and_a_shape_beside_the_colour():
    labels = ["a"] * 5 + ["b"] * 4 + ["c"] * 3 + ["d"] * 3 + ["e"] * 3 + ["f"] * 2 + ["g"] + [None] * 2
    figures = map_figures(points(labels), ClassNames("abcdefg"))
    assert clouds(figures["embeddings_by_modality"]) == {"photos": 23, "texts": 23}
    expected = {"a": 5, "b": 4, "c": 3, "d": 3, "e": 3, "f": 2, "other": 3}
    assert clouds(figures["embeddings_by_category"]) == expected
    drawn = ElementTree.fromstring(figures["embeddings_by_category"])
    marks = [one for one in drawn.iter() if "chart-points" in one.attrib.get("class", "")]
    # A key and a cloud each; every cloud but the rest has its own pair of form and shape.
    assert len(marks) == 2 * 7
    shapes = {
        (one.attrib["class"].split()[1], re.sub(r"M[-\d. ]+", "", one.attrib["d"])[:9])
        for one in marks
        if "chart-quiet" not in one.attrib["class"]
    }
    assert len({form + shape[:6] for form, shape in shapes}) >= 6
    assert "both have 25.0 % of the variance" in figures["embeddings_by_modality"]


def test_paths_are_coloured_by_the_level_that_has_a_colour_for_each():
    labels = [f"{top} > {kind} > {number}" for top in ("Fruit", "Milk") for kind in "xy" for number in range(5)]
    figures = map_figures(points(labels), ClassNames(labels))
    assert clouds(figures["embeddings_by_category"]) == dict.fromkeys(
        ("Fruit > x", "Fruit > y", "Milk > x", "Milk > y"), 5
    )


def test_without_labels_there_is_no_map_of_categories_and_umap_has_no_variance():
    figures = map_figures(points([None, None], "umap", None), ClassNames([]))
    assert list(figures) == ["embeddings_by_modality"]
    assert "UMAP" in figures["embeddings_by_modality"] and "variance" not in figures["embeddings_by_modality"]
    assert map_figures(points([]), ClassNames([])) == {}


def test_hubs_are_counted_in_words_too():
    rows = pl.DataFrame([("test", 0, 7), ("test", 3, 2)], schema=OCCURRENCE_SCHEMA, orient="row")
    (figure,) = occurrence_figures(rows).values()
    assert "7 of 9 are never found; the most frequent one is found 3 times" in figure
    assert figure.count("chart-bar") == 2


def test_many_different_numbers_share_bars():
    rows = [(times, 1) for times in range(0, 1_000, 3)]
    bins = occurrence_bins(rows)
    assert len(bins) <= 60 and sum(value for _, _, value in bins) == len(rows)
    assert {round(high - low) for low, high, _ in bins} == {17}


def test_rows_have_value_and_chance_and_leave_out_what_no_split_has():
    plain = {key: value for key, value in FIGURES.items() if key != "hub_skewness"}
    splits, rows = space_rows({"oof": {"embedding": plain | {"chance": {"never_found": 0.02}}}, "test": {}})
    assert splits == ["Out of fold"] and len(rows) == 5
    assert rows[-1].values == [("7.5 %", "2.0 %")] and rows[0].values == [("0.610", "")]
    assert space_rows({}) == ([], [])


def test_the_section_shows_figures_hubs_and_no_more_for_a_run_without_texts(make_run, parse):
    run = make_run()
    page = parse(run.report().page)
    hubs = pl.read_csv(run.root / "data/work/evaluation/hubs.csv").filter(pl.col("split") == "test")
    shown = [attributes["data-hub"] for attributes, _ in page.all("li") if "data-hub" in attributes]
    assert shown == hubs["product_id"].to_list()[:5]
    (section,) = (text for attributes, text in page.all("section") if attributes["id"] == "embeddings")
    assert "0.310" in section and "chance 2.0 %" in section
    without = parse(make_run(folder="labels", texts=False).report().page)
    assert "embeddings" not in {attributes["id"] for attributes, _ in without.all("section")}

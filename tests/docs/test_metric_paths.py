"""docs/metrics.md describes every path of metrics.json; tests of stages ask the same of the files that they make."""

import polars as pl
import pytest
from metric_paths import undescribed

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.schemas import COMPOSED_RANKS_SCHEMA, RANKS_SCHEMA
from pipeline_lib.catalogue.schema import QUERY_SLICES
from pipeline_lib.evaluation.composed_protocols import COMPOSED_PROTOCOLS, composed_trees
from pipeline_lib.evaluation.protocols import PROTOCOLS
from pipeline_lib.evaluation.summary import data_counts

# Ten queries are in a slice of their own, one is in a slice that is too small to be published.
QUERIES = [f"q{number}" for number in range(11)]
SLICES = pl.DataFrame(
    [*((query, "en") for query in QUERIES[1:]), (QUERIES[0], "zh")], schema=QUERY_SLICES, orient="row"
)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_figures_of_retrieval_are_described(protocol):
    rows = [
        (split, direction, query, None, 1.0 + number % 7, 20, query, 1, 1, 0)
        for split in ("oof", "test")
        for direction in ("text_to_image", "image_to_text")
        for number, query in enumerate(QUERIES)
    ]
    ranks = pl.DataFrame(rows, schema=RANKS_SCHEMA, orient="row")
    figures, intervals = PROTOCOLS[protocol].trees(ranks, 50, 7, SLICES)
    assert ("sum" in figures["test"]["retrieval"]) == (protocol == "five_caption")
    slices = figures["test"]["retrieval"]["text_to_image"].get("slices", {})
    assert set(slices) == (set() if protocol == "row_paired" else {"en"})
    assert undescribed(figures) == [] and undescribed(intervals) == []


@pytest.mark.parametrize("protocol", COMPOSED_PROTOCOLS)
def test_figures_of_composed_retrieval_are_described(protocol):
    own = {"split": "oof", "direction": "composed_sum", "fold": 0, "num_gallery": 20, "category": "mug"}
    own |= {name: 1 for name in COMPOSED_RANKS_SCHEMA if name.endswith("_right")}
    own |= {name: 0 for name in COMPOSED_RANKS_SCHEMA if name.endswith("tied_wrong")}
    own |= {"answer_num_right": 2, "subset_num_gallery": 5, "ap": [0.5] * 4, "chance_ap": [0.1] * 4}
    rows = [
        own
        | {"query_id": query, "group_id": query, "first_product_id": "a"}
        | dict.fromkeys(("rank", "answer_rank", "subset_rank"), 1.0 + number % 3)
        for number, query in enumerate(QUERIES)
    ]
    table = pl.DataFrame(rows, schema=COMPOSED_RANKS_SCHEMA)
    figures, intervals = composed_trees(table, COMPOSED_PROTOCOLS[protocol], SLICES)
    assert figures["composed"]["sum"]["oof"]["slices_left_out"] == 1
    assert undescribed(figures) == [] and undescribed(intervals) == []


def test_counts_of_the_data_are_described(tmp_path):
    counts = {"products": 9, "queries": 8, "rejected": 1, "columns": {"id": "sku", "text": "title + brand"}}
    counts |= {"groups": {"same_groups": 1}, "composed": {"queries": 3, "dropped": 1, "missing_candidates": 2}}
    write_json(tmp_path / "counts.json", counts)
    write_json(tmp_path / "groups.json", {"fold_largest": 4})
    assert undescribed(data_counts(tmp_path, tmp_path)) == []


@pytest.mark.parametrize(
    "path",
    [
        "oof.retrieval.text_to_image.R@7", "oof.retrieval.total", "oof.made_up.top1", "val.classification.top1",
        "data.rows", "data.groups.same", "composed.sum.oof.recall", "composed.sum.oof.slices.en.made_up",
        "judged.0.R@1", "oof.retrieval_zero_shot.text_to_image.R@7",
    ],
)  # fmt: skip
def test_a_path_that_the_page_does_not_have_is_found(path):
    tree = 0.5
    for part in reversed(path.split(".")):
        tree = {part: tree}
    assert undescribed(tree) == [path]


def test_figures_of_a_pair_before_training_are_described_as_those_of_retrieval():
    figures = {"text_to_image": {"R@1": 0.5, "mR": 0.5, "slices": {"en": {"chance": {"R@1": 0.1}}}}, "sum": 3.0}
    assert undescribed({"test": {"retrieval_zero_shot": figures}}) == []

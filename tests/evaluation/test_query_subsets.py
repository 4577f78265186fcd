"""Figures of text queries among their subset alone."""

import polars as pl
import pytest

from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.catalogue.schema import QUERIES, QUERY_SLICES
from pipeline_lib.evaluation.composed_protocols import MIN_SLICE
from pipeline_lib.evaluation.plot_tables import curve_table
from pipeline_lib.evaluation.protocols import PROTOCOLS
from pipeline_lib.evaluation.query_subsets import FIGURE, query_subset_trees, read_subsets
from pipeline_lib.metrics.gallery_ranks import SUBSET

# The rank, the wrong answers of equal score and the size of the subset of each query, by hand.
RANKS = [(1.0, 0, 2)] * 11 + [(1.5, 1, 2)] * 6 + [(2.0, 0, 2)] * 2 + [(1.0, 0, 4)]


def ranks_table():
    whole = [("test", "text_to_image", f"q{i}", None, 3.0, 50, f"g{i // 4}", 1, 1, 0) for i in range(len(RANKS))]
    own = [
        ("test", SUBSET, f"q{i}", None, rank, size, f"g{i // 4}", 1, 1, tied)
        for i, (rank, tied, size) in enumerate(RANKS)
    ]
    return pl.DataFrame([*whole, *own], schema=RANKS_SCHEMA, orient="row")


def slices_table(**named):
    rows = [(f"q{i}", name) for name, chosen in named.items() for i in chosen]
    return pl.DataFrame(rows, schema=QUERY_SLICES, orient="row")


def test_hand_worked_figures_count_equal_scores_half():
    slices = slices_table(forward=range(10), ties=range(7, 19), few=range(MIN_SLICE - 1))
    figures, intervals = query_subset_trees(ranks_table(), slices)
    own, spans = (tree["test"]["retrieval"]["text_to_image"] for tree in (figures, intervals))
    assert own[FIGURE] == pytest.approx((11 + 6 / 2 + 1) / 20)
    assert own["num_subset_queries"] == 20 and own["chance"] == {FIGURE: pytest.approx((19 / 2 + 1 / 4) / 20)}
    assert list(own["slices"]) == ["forward", "ties"] == list(spans["slices"])
    assert own["slices"]["forward"] == {FIGURE: 1.0, "num_subset_queries": 10, "chance": {FIGURE: 0.5}}
    assert own["slices"]["ties"][FIGURE] == pytest.approx((4 + 6 / 2) / 12, abs=1e-6)
    for values, limits in ((own, spans), (own["slices"]["ties"], spans["slices"]["ties"])):
        assert set(limits) - {"slices"} == {FIGURE}
        assert limits[FIGURE][0] < values[FIGURE] < limits[FIGURE][1]


def test_the_other_figures_of_a_protocol_are_those_without_subsets():
    ranks, slices = ranks_table(), slices_table(forward=range(10))
    whole = ranks.filter(pl.col("direction") != SUBSET)
    for with_subsets, plain in zip(
        *(PROTOCOLS["catalogue"].trees(one, 100, 1, slices) for one in (ranks, whole)), strict=True
    ):
        own = with_subsets["test"]["retrieval"]["text_to_image"]
        for tree in (own, own["slices"]["forward"]):
            assert FIGURE in tree
            for name in (FIGURE, "num_subset_queries"):
                tree.pop(name, None)
            tree.get("chance", {}).pop(FIGURE, None)
        assert with_subsets == plain
    assert curve_table(ranks).equals(curve_table(whole))


def test_the_subsets_of_text_queries_are_pairs_of_a_query_and_a_product(tmp_path):
    rows = [
        ("q", "text", "red", None, ["a", "b"], None),
        ("without", "text", "blue", None, [], None),
        ("composed", "composed", "in red", "c", ["d"], None),
    ]
    queries = pl.DataFrame(rows, schema=QUERIES, orient="row")
    queries.write_parquet(tmp_path / "queries.parquet")
    assert read_subsets(tmp_path).rows() == [("q", "a"), ("q", "b")]
    queries.filter(pl.col("query_id") != "q").write_parquet(tmp_path / "queries.parquet")
    assert read_subsets(tmp_path) is None
    queries.drop("subset").write_parquet(tmp_path / "queries.parquet")
    with pytest.raises(ValueError, match=r"queries.parquet.*subset"):
        read_subsets(tmp_path)

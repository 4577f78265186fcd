"""Ranks of two runs: significant gains, chance, and runs that cannot be compared."""

import numpy as np
import polars as pl
import pytest

from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.experiments.compare.pairing import COMPARISON_SCHEMA, common_splits
from pipeline_lib.experiments.compare.queries import KEY, compare_queries


def ranks_of(ranks, split="oof", direction="text_to_image"):
    rows = [(split, direction, f"q{i}", i % 3, float(rank), 100, f"g{i}", 1, 1, 0) for i, rank in enumerate(ranks)]
    return pl.DataFrame(rows, schema=RANKS_SCHEMA, orient="row")


def verdicts(table):
    return dict(table.select("metric", "verdict").rows())


def test_a_real_gain_is_significant_whether_lower_or_higher_is_better():
    rng = np.random.default_rng(0)
    before = rng.integers(1, 40, 600)
    after = np.maximum(1, before - rng.integers(0, 10, 600))
    table = compare_queries(ranks_of(before), ranks_of(after))
    assert table.schema == COMPARISON_SCHEMA
    assert set(verdicts(table).values()) == {"b is better"}
    assert set(verdicts(compare_queries(ranks_of(after), ranks_of(before))).values()) == {"a is better"}
    mean = table.row(by_predicate=pl.col("metric") == "mean_rank", named=True)
    assert mean["difference"] == pytest.approx(mean["b"] - mean["a"]) == pytest.approx((after - before).mean())
    assert mean["low"] < mean["difference"] < mean["high"] < 0


def test_noise_is_not_significant():
    rng = np.random.default_rng(1)
    ranks = rng.integers(1, 40, 600)
    swapped = ranks.copy()
    swapped[:40] = ranks[:40][::-1]
    table = compare_queries(ranks_of(ranks), ranks_of(swapped))
    assert set(verdicts(table).values()) == {"no significant difference"}
    assert set(verdicts(compare_queries(ranks_of(ranks), ranks_of(ranks))).values()) == {"no significant difference"}


def test_row_order_does_not_matter_and_each_split_has_its_rows():
    oof, test = ranks_of([1, 5, 9, 2]), ranks_of([3, 3, 3, 3], split="test").with_columns(fold=pl.lit(None, pl.Int64))
    first = pl.concat([oof, test])
    table = compare_queries(first, first.reverse())
    assert table["difference"].to_list() == [0] * 12
    assert table["split"].unique(maintain_order=True).to_list() == ["oof", "test"]


def test_other_queries_are_refused_with_their_numbers():
    with pytest.raises(ValueError, match="1 only in a, 0 only in b, of 3 and 2"):
        compare_queries(ranks_of([1, 2, 3]), ranks_of([1, 2]))
    with pytest.raises(ValueError, match="2 only in a, 2 only in b"):
        compare_queries(ranks_of([1, 2]), ranks_of([1, 2], split="test"))


def test_a_split_with_other_queries_is_left_out_with_a_line():
    oof, test = ranks_of([1, 5, 9, 2]), ranks_of([3, 3, 3, 3], split="test")
    fewer = pl.concat([oof.head(3), test])
    assert common_splits(pl.concat([oof, test]), fewer, KEY, "queries") == (
        ["test"],
        ["oof is left out: 1 queries only in a, 0 only in b"],
    )
    assert common_splits(pl.concat([oof, test]), test, KEY, "queries")[0] == ["test"]
    assert common_splits(oof, test, KEY, "queries") == ([], [
        "oof is left out: 4 queries only in a, 0 only in b", "test is left out: 0 queries only in a, 4 only in b",
    ])  # fmt: skip
    assert common_splits(oof, oof.reverse(), KEY, "queries") == (["oof"], [])


def test_queries_of_one_group_are_drawn_together():
    """With every query twice the interval is that of each query once; as independent queries it would be narrower."""
    rng = np.random.default_rng(2)
    before, after = (rng.integers(1, 12, 200).astype(float) for _ in range(2))

    def spans(together):
        frames = [ranks_of(np.repeat(ranks, 2)) for ranks in (before, after)]
        if together:
            frames = [frame.with_columns(group_id=pl.Series([f"g{i // 2}" for i in range(400)])) for frame in frames]
        table = compare_queries(*(frame.with_columns(fold=pl.lit(0, pl.Int64)) for frame in frames))
        return (table["high"] - table["low"])[0]  # R@1

    once = compare_queries(ranks_of(before), ranks_of(after))
    assert spans(together=True) == pytest.approx((once["high"] - once["low"])[0], rel=0.1)
    assert spans(together=False) == pytest.approx(spans(together=True) / np.sqrt(2), rel=0.1)

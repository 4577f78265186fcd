"""Counts in bf16 are those of float64: near thresholds of any sign and size, in dense tiles, with any numbers."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from pipeline_lib.execution.device import supports_bf16
from pipeline_lib.metrics import bf16_counts, cpu_counts, recall
from pipeline_lib.metrics.pair_products import products_of_pairs, rounded
from pipeline_lib.metrics.recall import both_ways_ranks
from pipeline_lib.metrics.relevance import positions_from_lists
from pipeline_lib.metrics.score_counts import Thresholds, count_true


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """Small matrices are counted by threads, too, in small tiles, in bf16 whatever this machine has."""
    monkeypatch.setattr(recall, "FEW_SCORES", -1)
    monkeypatch.setattr(recall, "supports_bf16", lambda device: True)
    monkeypatch.setattr(cpu_counts, "CPU_TILE", (40, 50))
    monkeypatch.setattr(cpu_counts, "SLAB", 16)
    monkeypatch.setattr(bf16_counts, "PROBED_ROWS", 32)


def related(seed, dim, noise, count=130):
    """Queries near their gallery items; some of both are repeated, and each item is the answer of two queries."""
    rng = np.random.default_rng(seed)
    gallery = rng.standard_normal((count // 2, dim)).astype(np.float32)
    gallery[10:20] = gallery[:10]
    own = np.arange(count) % len(gallery)
    queries = gallery[own] + noise * rng.standard_normal((count, dim)).astype(np.float32)
    queries[5:9] = queries[:4]
    return queries, gallery, positions_from_lists([[item] for item in own])


def slow_counts(queries, gallery, positives):
    """Higher and tied wrong items of each query, by float64 scores."""
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    size = np.linalg.norm(queries.astype(np.float64), axis=1) * np.linalg.norm(gallery.astype(np.float64), axis=1).max()
    found = []
    for query, row in enumerate(scores):
        own, margin = positives.row(query), 1e-12 * size[query]
        best, others = row[own].max(), np.delete(row, own)
        found.append([(others > best + margin).sum(), (np.abs(others - best) <= margin).sum()])
    return np.array(found)


def assert_exact(queries, gallery, positives):
    ranks = both_ways_ranks(queries, gallery, positives)
    back = positives.transposed(len(gallery))
    for found, expected in zip(
        ranks, (slow_counts(queries, gallery, positives), slow_counts(gallery, queries, back)), strict=True
    ):
        assert np.stack([found.higher, found.wrong], 1).tolist() == expected.tolist()


class Calls:
    """Whether tiles were counted in bf16 to the end, or in float32 after all."""

    def __init__(self, patch):
        self.float32, self.pairs = 0, 0
        count, products = cpu_counts.Float32Tiles.__call__, bf16_counts.products_of_pairs

        def float32(tiles, tile):
            self.float32 += 1
            return count(tiles, tile)

        def pairs(left, right, row, column):
            self.pairs += len(row)
            return products(left, right, row, column)

        patch.setattr(cpu_counts.Float32Tiles, "__call__", float32)
        patch.setattr(bf16_counts, "products_of_pairs", pairs)


@pytest.mark.parametrize("dim", [1, 3, 64, 512, 1000])
@pytest.mark.parametrize("sign", [1, -1])
def test_counts_are_those_of_float64_in_both_directions(monkeypatch, dim, sign):
    """Against the opposite gallery the best answers score below zero."""
    monkeypatch.setattr(bf16_counts, "MANY_NEAR", 1)
    calls = Calls(monkeypatch)
    queries, gallery, positives = related(dim, dim, 0.7)
    assert_exact(queries, sign * gallery, positives)
    assert calls.pairs and not calls.float32


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000), dim=st.integers(1, 40), noise=st.sampled_from([0.01, 0.3, 3.0]),
    shift=st.sampled_from([-2.0, 0.0, 5.0]), many=st.sampled_from([1, 20]), count=st.integers(40, 130),
)  # fmt: skip
def test_counts_are_those_of_float64_for_embeddings_of_any_direction(seed, dim, noise, shift, many, count):
    queries, gallery, positives = related(seed, dim, noise, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bf16_counts, "MANY_NEAR", many)
        assert_exact(queries + np.float32(shift), gallery, positives)


def test_few_pairs_are_near_a_threshold_if_answers_are_nearest(monkeypatch):
    calls = Calls(monkeypatch)
    queries, gallery, positives = related(0, 256, 0.1)
    assert_exact(queries, gallery, positives)
    assert not calls.float32 and calls.pairs < 0.02 * len(queries) * len(gallery)


def test_rows_of_tiles_with_many_near_pairs_are_counted_in_float32_others_are_not(monkeypatch):
    calls = Calls(monkeypatch)
    queries, gallery, positives = related(1, 64, 0.05)
    queries[:40] = gallery[0]  # queries of the first row of tiles, which other items tie with
    gallery[20:] = np.where(np.arange(45)[:, None] < 30, gallery[0], gallery[20:])
    assert_exact(queries, gallery, positives)
    tiles_a_row = -(-len(gallery) // 50)
    assert 0 < calls.float32 < tiles_a_row * -(-len(queries) // 40)


def test_an_untrained_model_is_left_to_float32_after_a_few_rows(monkeypatch):
    rng = np.random.default_rng(0)
    queries, gallery = (rng.standard_normal((count, 512)).astype(np.float32) for count in (130, 65))
    compared = []
    compare = bf16_counts.compare
    monkeypatch.setattr(
        bf16_counts, "compare", lambda scores, *rest: compared.append(len(scores)) or compare(scores, *rest)
    )
    calls = Calls(monkeypatch)
    assert_exact(queries, gallery, positions_from_lists([[row % 65] for row in range(130)]))
    assert calls.float32 and set(compared) <= {32, 130 % 40}


@pytest.mark.parametrize("alike", ["queries", "gallery", "both", "zero"])
def test_collapsed_embeddings_tie(alike):
    queries, gallery, positives = related(2, 96, 1.0)
    if alike in ("queries", "both"):
        queries[:] = queries[0]
    if alike in ("gallery", "both"):
        gallery[:] = gallery[0]
    if alike == "zero":
        queries[:], gallery[:] = 0, 0
    assert_exact(queries, gallery, positives)


@pytest.mark.parametrize("scale", [1e-30, 1e-19, 1e-12, 1e12, 1e18, 1e30])
def test_counts_do_not_depend_on_the_size_of_the_numbers(scale):
    """Some sizes are outside what bf16 products can hold."""
    queries, gallery, positives = related(3, 32, 0.5)
    expected = slow_counts(queries, gallery, positives)
    power = np.float32(2.0 ** np.round(np.log2(scale)))  # exact, so that the order stays
    there, _ = both_ways_ranks(queries * power, gallery, positives)
    assert np.stack([there.higher, there.wrong], 1).tolist() == expected.tolist()


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e15])
@pytest.mark.parametrize("dim", [1, 30, 512, 4096])
def test_no_bf16_product_is_further_from_the_exact_one_than_the_bound(scale, dim):
    rng = np.random.default_rng(dim)
    left, right = (
        (rng.standard_normal((count, dim)) * scale * rng.choice([1e-3, 1.0], (1, dim))).astype(np.float32)
        for count in (60, 90)
    )
    sides = [bf16_counts._Side(part, map) for part in (left, right)]
    products = (sides[0].short @ sides[1].short.T).double().numpy()
    exact = left.astype(np.float64) @ right.astype(np.float64).T
    last_step = np.abs(products) * 2.0**-8 + 1e-37  # the product itself is rounded; the limits are rounded alike
    for axis, errors in enumerate((bf16_counts._errors(*sides), bf16_counts._errors(*reversed(sides)))):
        assert (np.abs(products - exact) <= np.expand_dims(errors, 1 - axis) + last_step).all()


def test_codes_have_the_order_of_bf16_numbers_and_limits_their_rounding():
    numbers = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.bfloat16)
    finite = numbers[numbers.isfinite()]
    codes = bf16_counts._order(finite.clone().view(torch.int16).numpy())
    order = np.argsort(codes, kind="stable")
    assert (np.diff(finite.float().numpy()[order]) >= 0).all()
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.standard_normal(1000), [0.0, -0.0, np.inf, 1.00390625, 1.01171875, -1.00390625]])
    none = np.zeros(len(scores))
    low, high = bf16_counts._codes(Thresholds(scores, none, none), none)
    expected = bf16_counts._order(torch.from_numpy(scores.astype(np.float32)).bfloat16().view(torch.int16).numpy())
    some = scores != 0
    assert low[some].tolist() == high[some].tolist() == expected[some].tolist()
    assert set(low[~some]) == {-1} and set(high[~some]) == {0}


def test_a_read_only_matrix_is_counted_and_threads_get_their_number_back():
    before = torch.get_num_threads(), [library["num_threads"] for library in threadpool_info()]
    queries, gallery, positives = related(4, 64, 0.3)
    gallery.flags.writeable = False
    assert_exact(queries, gallery, positives)
    assert before == (torch.get_num_threads(), [library["num_threads"] for library in threadpool_info()])


def test_blas_and_torch_have_one_thread_in_each_that_counts():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threadpool_limits(2), cpu_counts.counting_threads() as pool:
            libraries, own = pool.submit(lambda: (threadpool_info(), torch.get_num_threads())).result()
            assert (own, torch.get_num_threads()) == (1, 2)
    finally:
        torch.set_num_threads(before)
    assert {library["num_threads"] for library in libraries if library["user_api"] == "blas"} == {1}


def test_torch_is_not_loaded_for_counts():
    script = (
        "import sys, numpy as np; from pipeline_lib.metrics import recall; "
        "from pipeline_lib.metrics.relevance import positions_from_lists; recall.FEW_SCORES = -1; "
        "ranks = recall.both_ways_ranks(*np.eye(3, dtype=np.float32)[None].repeat(2, 0), "
        "positions_from_lists([[0], [1], [2]])); "
        "assert ranks[0].higher.tolist() == [0] * 3; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.skipif(not supports_bf16("cpu"), reason="a CPU without bf16")
def test_a_cpu_with_bf16_counts_in_it(monkeypatch):
    monkeypatch.setattr(recall, "supports_bf16", supports_bf16)
    calls = Calls(monkeypatch)
    assert_exact(*related(5, 256, 0.3))
    assert not calls.float32


@given(rows=st.integers(1, 255), width=st.integers(1, 200), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_true_values_are_counted_in_rows_and_columns(rows, width, seed):
    mask = np.random.default_rng(seed).random((rows, width)) < (1.0 if seed == 0 else 0.5)
    assert count_true(mask, 0).tolist() == mask.sum(axis=1).tolist()
    assert count_true(mask, 1).tolist() == mask.sum(axis=0).tolist()


def test_products_of_pairs_equal_a_loop_and_rounding_takes_what_it_says():
    left, right = torch.randn(7, 50), torch.randn(9, 50)
    row, column = torch.tensor([0, 0, 2, 6]), torch.tensor([8, 1, 4, 0])
    expected = torch.stack([left[i] @ right[j] for i, j in zip(row, column, strict=True)])
    assert torch.allclose(products_of_pairs(left, right, row, column), expected, atol=1e-5)
    assert products_of_pairs(left, right, row[:0], column[:0]).shape == (0,)
    short, lost, length = rounded(left, torch.bfloat16)
    for rows, at, taken, size in zip(left, short, lost, length, strict=True):
        assert float(taken) == pytest.approx(float((rows - at.float()).norm()))
        assert float(size) == pytest.approx(max(float(rows.norm()), float(at.float().norm())))
    assert rounded(left, torch.float32).lost.max() == 0

"""Each protocol of composed retrieval by a hand-worked table, and by a second, straightforward implementation."""

from typing import get_args

import numpy as np
import polars as pl
import pytest

from pipeline_lib.artifacts.schemas import COMPOSED_RANKS_SCHEMA, RANKINGS_SCHEMA, RANKS_SCHEMA
from pipeline_lib.catalogue.schema import QUERIES, QUERY_SLICES, RELEVANCE
from pipeline_lib.evaluation.composed_protocols import COMPOSED_PROTOCOLS, composed_trees
from pipeline_lib.evaluation.composed_ranks import plan_composed_galleries, rank_composed
from pipeline_lib.params.composed import PROTOCOL_METRICS, ComposedMetric

NO_SLICES = pl.DataFrame(schema=QUERY_SLICES)


def gallery_of(products, queries, relevance, fold=0):
    """Products as (id, label), queries as (id, reference, subset), relevance as (query, product, grade)."""
    ids, labels = zip(*products, strict=True)
    frame = pl.DataFrame({"product_id": ids, "label": labels, "group_id": ids}, schema_overrides={"label": pl.String})
    frame = frame.with_columns(split=pl.lit("train"), fold=pl.lit(fold, pl.Int64))
    rows = [(name, "composed", "in red", reference, subset, None) for name, reference, subset in queries]
    found = plan_composed_galleries(
        frame,
        pl.DataFrame(rows, schema=QUERIES, orient="row"),
        pl.DataFrame(relevance, schema=RELEVANCE, orient="row"),
        [fold],
    )
    assert len(found) == 1
    return found[0]


def figures_of(gallery, scores, name, slices=NO_SLICES):
    protocol = COMPOSED_PROTOCOLS[name]
    matrix = np.array(scores, float)
    rows, rankings = rank_composed(gallery, lambda part: matrix[part], protocol.rule, "composed_sum", 50)
    assert rows.schema == COMPOSED_RANKS_SCHEMA and rankings.schema == RANKINGS_SCHEMA
    figures, intervals = composed_trees(rows, protocol, slices)
    return figures["composed"]["sum"]["oof"], intervals["composed"]["sum"]["oof"], rows, rankings


def letters(text, label="x"):
    return [(letter, label) for letter in text]


def test_cirr_by_hand():
    """Eight pictures; without the reference, and in the subset of six without it."""
    subset = list("abcdef")
    gallery = gallery_of(
        letters("abcdefgh"),
        [("q1", "a", subset), ("q2", "b", subset)],
        [("q1", "b", 2), ("q1", "c", 1), ("q2", "f", 2)],
    )
    scores = [
        # a is the reference and would be first. g, h, c are before the target b; of the subset only c is.
        [0.99, 0.60, 0.70, 0.1, 0.2, 0.3, 0.90, 0.80],
        # Without b: a and the target f share the best score.
        [0.50, 0.99, 0.10, 0.1, 0.2, 0.5, 0.20, 0.30],
    ]
    figures, intervals, rows, rankings = figures_of(gallery, scores, "cirr")
    # q1: rank 4, subset rank 2, soft answer c at 3. q2: a tie of two, in the subset, too.
    assert rows["rank"].to_list() == [4.0, 1.5] and rows["subset_rank"].to_list() == [2.0, 1.5]
    assert rows["answer_rank"].to_list() == [3.0, 1.5] and rows["num_gallery"].to_list() == [7, 7]
    expected = {"R@1": 0.25, "R@5": 1.0, "R@10": 1.0, "R@50": 1.0, "R_subset@1": 0.25, "R_subset@2": 1.0}
    expected |= {"R_subset@3": 1.0, "R_soft@1": 0.25, "R_soft@5": 1.0, "mean": (1.0 + 0.25) / 2}
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    chance = {"R@1": 1 / 7, "R@5": 5 / 7, "R@50": 1.0, "R_subset@1": 0.2, "R_subset@2": 0.4, "R_subset@3": 0.6}
    chance |= {"mean": (5 / 7 + 0.2) / 2, "R_soft@1": (2 / 7 + 1 / 7) / 2}
    assert {name: figures["chance"][name] for name in chance} == pytest.approx(chance, abs=1e-6)
    assert all(intervals[name][0] <= figures[name] <= intervals[name][1] for name in expected)
    assert figures["num_queries"] == 2 and figures["num_gallery"] == 7
    # The reference is in no list; equal scores are in the order of their ids.
    lists = rankings.group_by("query_id", maintain_order=True).agg("product_id").rows()
    assert lists == [("q1", list("ghcbfed")), ("q2", list("afhegcd"))]
    assert rows["first_product_id"].to_list() == ["g", "a"]


def test_fashion_iq_by_hand():
    """The gallery is the label of the reference, and the reference is not removed."""
    dresses, shirts = [f"d{number:02d}" for number in range(12)], [f"s{number}" for number in range(3)]
    gallery = gallery_of(
        [*((name, "dress") for name in dresses), *((name, "shirt") for name in shirts)],
        [("q1", "d00", []), ("q2", "d01", []), ("q3", "s0", [])],
        [("q1", "d11", 1), ("q2", "d05", 1), ("q3", "s2", 1)],
    )
    descending = np.linspace(0.9, 0.1, 15)
    scores = [descending, descending, descending]
    figures, intervals, rows, _ = figures_of(gallery, scores, "fashion_iq")
    # d11 is the twelfth of twelve dresses, reference counted; d05 the sixth; s2 the third of three shirts.
    assert rows["rank"].to_list() == [12.0, 6.0, 3.0] and rows["num_gallery"].to_list() == [12, 12, 3]
    assert figures["categories"]["dress"]["R@10"] == 0.5 and figures["categories"]["shirt"]["R@10"] == 1.0
    # The mean of the categories, not of the queries.
    assert (figures["R@10"], figures["R@50"], figures["mean"]) == (0.75, 1.0, 0.875)
    assert figures["chance"]["R@10"] == pytest.approx((10 / 12 + 1) / 2, abs=1e-6)
    assert figures["categories"]["dress"]["chance"]["R@10"] == pytest.approx(10 / 12, abs=1e-6)
    assert set(intervals["categories"]) == {"dress", "shirt"} and intervals["mean"][0] <= 0.875


def test_circo_by_hand():
    """Several targets, min(|GT|, K), the reference not removed, recall of the single target."""
    gallery = gallery_of(
        letters("abcdefgh"),
        [("q1", "a", []), ("q2", "b", [])],
        [("q1", "b", 2), ("q1", "c", 1), ("q1", "e", 1), ("q2", "c", 2)],
    )
    scores = [
        [0.9, 0.8, 0.2, 0.7, 0.6, 0.5, 0.4, 0.3],  # a b d e f g h c: the answers are at 2, 4 and 8
        [0.1, 0.9, 0.3, 0.8, 0.7, 0.6, 0.5, 0.4],  # b d e f g h c a: the target is at 7
    ]
    figures, _, rows, _ = figures_of(gallery, scores, "circo")
    first = [(1 / 2 + 2 / 4) / 3, (1 / 2 + 2 / 4 + 3 / 8) / 3]
    expected = {"mAP@5": (first[0] + 0) / 2, "mAP@10": (first[1] + 1 / 7) / 2, "mAP@50": (first[1] + 1 / 7) / 2}
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    # Recall counts the target b of q1 alone, at 2; soft answers are wrong for it.
    assert rows["rank"].to_list() == [2.0, 7.0]
    assert (figures["R@5"], figures["R@10"]) == (0.5, 1.0)
    assert rows["num_gallery"].to_list() == [8, 8] and figures["chance"]["R@5"] == 5 / 8


def test_semantic_aspects_of_circo_by_hand():
    """Three kinds of queries over 14 images, and mAP@10 of each aspect; one of nine queries is counted alone."""
    images = [f"p{number:02d}" for number in range(14)]
    relevant = [*[(0, 2)] * 8, *[(1, 3, 11)] * 4, *[tuple(range(2, 14))] * 3]
    queries = [(f"q{number:02d}", "p13", []) for number in range(15)]
    relevance = [
        (name, images[at], 2 if at == own[0] else 1)
        for (name, *_), own in zip(queries, relevant, strict=True)
        for at in own
    ]
    aspects = {"cardinality": range(12), "negation": range(5, 15), "viewpoint": range(9)}
    rows = [(queries[number][0], aspect) for aspect, own in aspects.items() for number in own]
    slices = pl.DataFrame(rows, schema=QUERY_SLICES, orient="row")
    descending = np.linspace(0.9, 0.1, 14)
    gallery = gallery_of(letters(images), queries, relevance)
    figures, intervals, *_ = figures_of(gallery, [descending] * 15, "circo", slices)
    assert set(figures["slices"]) == set(intervals["slices"]) == {"cardinality", "negation"}
    assert figures["slices_left_out"] == 1
    # Right at 1 and 3; at 2, 4 and, below the cut, 12; at 3 to 14, of which min(12, 10) count.
    first, second = (1 + 2 / 3) / 2, (1 / 2 + 2 / 4) / 3
    third = (1 / 3 + 2 / 4 + 3 / 5 + 4 / 6 + 5 / 7 + 6 / 8 + 7 / 9 + 8 / 10) / 10
    expected = {"cardinality": (8 * first + 4 * second) / 12, "negation": (3 * first + 4 * second + 3 * third) / 10}
    assert {name: own["mAP@10"] for name, own in figures["slices"].items()} == pytest.approx(expected, abs=1e-6)
    assert {name: own["num_queries"] for name, own in figures["slices"].items()} == {"cardinality": 12, "negation": 10}
    # With one score for all, each aspect has its own chance, which depends on how many answers its queries have.
    even, *_ = figures_of(gallery, np.full((15, 14), 0.5), "circo", slices)
    chances = [figures["slices"][name]["chance"]["mAP@10"] for name in expected]
    assert [even["slices"][name]["mAP@10"] for name in expected] == chances and chances[0] < chances[1]


def test_catalogue_by_hand_with_some_subsets():
    gallery = gallery_of(
        letters("abcdefgh"),
        [("q1", "a", ["a", "b", "c"]), ("q2", "b", [])],
        [("q1", "b", 1), ("q1", "h", 1), ("q2", "h", 1)],
    )
    scores = [[0.9, 0.1, 0.2, 0, 0, 0, 0, 0.8], [0.5, 0.9, 0.4, 0.3, 0.2, 0.1, 0.0, 0.45]]
    figures, _, rows, _ = figures_of(gallery, scores, "catalogue")
    # q1: either target counts, h is first; within {b, c} only b is a target, and second. q2: second.
    assert rows["rank"].to_list() == [1.0, 2.0] and rows["subset_rank"].to_list() == [2.0, None]
    assert (figures["R@1"], figures["R@5"], figures["R_subset@1"], figures["R_subset@2"]) == (0.5, 1.0, 0.0, 1.0)
    assert figures["chance"]["R_subset@1"] == 0.5 and "R_soft@1" not in figures


def slow_values(queries, answers, labels, scores, name):
    """The figures of each query by a protocol, by sorting its list, with loops and no ties."""
    cutoffs = {"cirr": (1, 5, 10, 50), "catalogue": (1, 5, 10), "fashion_iq": (10, 50), "circo": (5, 10, 25, 50)}[name]
    found = {}
    for (query, reference, subset), row in zip(queries, scores, strict=True):
        order = [int(at) for at in np.argsort(-row)]
        if name in ("cirr", "catalogue"):
            order.remove(reference)
        if name == "fashion_iq":
            order = [at for at in order if labels[at] == labels[reference]]
        grades = answers[query]
        targets = [at for at, grade in grades.items() if grade == max(grades.values())]
        values = {f"R@{k}": float(any(at in targets for at in order[:k])) for k in cutoffs}
        if name in ("cirr", "catalogue"):
            values |= {f"R_soft@{k}": float(any(at in grades for at in order[:k])) for k in cutoffs}
            inside = [at for at in order if at in subset and at != reference]
            values |= {f"R_subset@{k}": float(any(at in targets for at in inside[:k])) for k in (1, 2, 3)}
        for k in cutoffs if name == "circo" else ():
            hits, total = 0, 0.0
            for place, at in enumerate(order[:k], start=1):
                if at in grades:
                    hits += 1
                    total += hits / place
            values[f"mAP@{k}"] = total / min(len(grades), k)
        found[query] = values
    return found


def slow_figures(queries, labels, values, name):
    """The figures of a protocol from those of its queries: `mean` beside them, for FashionIQ means of categories."""
    keys = list(next(iter(values.values())))
    if name == "fashion_iq":
        of_label = {}
        for query, reference, _ in queries:
            of_label.setdefault(labels[reference], []).append(values[query])
        means = {key: np.mean([np.mean([one[key] for one in some]) for some in of_label.values()]) for key in keys}
        return means | {"mean": (means["R@10"] + means["R@50"]) / 2}
    means = {key: np.mean([one[key] for one in values.values()]) for key in keys}
    return means | ({"mean": (means["R@5"] + means["R_subset@1"]) / 2} if name == "cirr" else {})


# As CIRCO names its semantic aspects.
ASPECTS = ["addition", "negation", "spatial relations", "cardinality", "direct addressing", "compare & change",
           "comparative statement", "statement with conjunction", "viewpoint"]  # fmt: skip


@pytest.mark.parametrize("name", sorted(COMPOSED_PROTOCOLS))
def test_random_rankings_with_several_targets_equal_a_second_implementation(name, monkeypatch):
    monkeypatch.setattr("pipeline_lib.evaluation.summary.DIGITS", 12)
    monkeypatch.setattr("pipeline_lib.metrics.composed.ROWS_BYTES", 7 * 8 * 90)  # chunks of seven queries
    rng = np.random.default_rng(7)
    labels = [f"label{at % 3}" for at in range(90)]
    ids = [f"p{at:02d}" for at in rng.permutation(90)]
    queries, answers = [], {}
    for number in range(60):
        same = rng.permutation([at for at in range(90) if at % 3 == number % 3]).tolist()
        reference, subset = same[0], same[:6]
        answers[f"q{number}"] = dict.fromkeys(same[1 : 2 + rng.integers(3)], 2)
        answers[f"q{number}"] |= dict.fromkeys(same[4 : 4 + rng.integers(9)], 1)
        queries.append((f"q{number}", reference, subset))
    scores = rng.normal(size=(60, 90))
    gallery = gallery_of(
        list(zip(ids, labels, strict=True)),
        [(query, ids[reference], [ids[at] for at in subset]) for query, reference, subset in queries],
        [(query, ids[at], grade) for query, some in answers.items() for at, grade in some.items()],
    )
    aspects = [(query, aspect) for query, *_ in queries for aspect in rng.permutation(ASPECTS)[:4].tolist()]
    slices = pl.DataFrame(aspects, schema=QUERY_SLICES, orient="row")
    figures, *_ = figures_of(gallery, scores, name, slices)
    values = slow_values(queries, answers, labels, scores, name)
    expected = slow_figures(queries, labels, values, name)
    published = {key for key, value in figures.items() if isinstance(value, float)}
    assert published == set(expected)
    assert {key: figures[key] for key in published} == pytest.approx(expected, abs=1e-9)
    # Each aspect has at least ten queries, so all nine are published, each over its own queries alone.
    assert set(figures["slices"]) == set(ASPECTS) and figures["slices_left_out"] == 0
    keys = {"cirr": {"R@1", "R@5"}, "catalogue": {"R@1", "R@5", "R@10"}, "fashion_iq": {"R@10", "R@50"}}.get(
        name, {"mAP@10"}
    )
    for aspect, own in figures["slices"].items():
        of_aspect = [values[query] for query, other in aspects if other == aspect]
        assert len(of_aspect) == own["num_queries"] >= 10
        assert {key for key, value in own.items() if isinstance(value, float)} == keys == set(own["chance"])
        means = {key: np.mean([one[key] for one in of_aspect]) for key in keys}
        assert {key: own[key] for key in keys} == pytest.approx(means, abs=1e-9)


def test_equal_scores_give_the_figures_of_chance():
    subset = list("abcdef")
    gallery = gallery_of(letters("abcdefgh"), [("q", "a", subset)], [("q", "b", 2), ("q", "c", 1)])
    for name in COMPOSED_PROTOCOLS:
        figures, *_ = figures_of(gallery, np.full((1, 8), 0.5), name)
        assert {key: figures[key] for key in figures["chance"]} == figures["chance"]


def test_slices_are_figures_of_their_queries_and_small_ones_are_counted():
    products = letters([f"p{number:02d}" for number in range(30)])
    queries = [(f"q{number:02d}", "p00", []) for number in range(14)]
    relevance = [(name, "p01", 1) for name, *_ in queries]
    scores = np.zeros((14, 30))
    scores[:10, 1], scores[10:, 2] = 1, 1
    rows = [(name, "zh") for name, *_ in queries[:12]] + [(queries[0][0], "paraphrase-1"), (queries[1][0], "en")]
    slices = pl.DataFrame(rows, schema=QUERY_SLICES, orient="row")
    figures, intervals, *_ = figures_of(gallery_of(products, queries, relevance), scores, "catalogue", slices)
    assert set(figures["slices"]) == set(intervals["slices"]) == {"zh"} and figures["slices_left_out"] == 2
    assert figures["slices"]["zh"]["R@1"] == pytest.approx(10 / 12, abs=1e-6)
    assert figures["slices"]["zh"]["num_queries"] == 12


def test_the_interval_counts_queries_of_one_target_as_one():
    products = letters([f"p{number:02d}" for number in range(30)])
    queries = [(f"q{number:02d}", "p00", []) for number in range(20)]
    scores = np.zeros((20, 30))
    for number in range(20):
        scores[number, 1 + number // 10 if number % 2 else 20] = 1
    one = gallery_of(products, queries, [(name, f"p{1 + at // 10:02d}", 1) for at, (name, *_) in enumerate(queries)])
    many = gallery_of(products, queries, [(name, f"p{1 + at:02d}", 1) for at, (name, *_) in enumerate(queries)])
    narrow, wide = (figures_of(gallery, scores, "catalogue")[1]["R@1"] for gallery in (many, one))
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def test_queries_without_an_answer_are_ranked_and_not_counted():
    gallery = gallery_of(letters("abc"), [("q1", "a", []), ("q2", "b", [])], [("q1", "b", 1)])
    _, _, rows, rankings = figures_of(gallery, [[0, 1, 0.5], [0.2, 0, 0.5]], "catalogue")
    assert rows["query_id"].to_list() == ["q1"]
    assert rankings.filter(pl.col("query_id") == "q2")["product_id"].to_list() == ["c", "a"]


def test_ranks_are_those_of_the_table_that_runs_are_compared_by():
    assert list(COMPOSED_RANKS_SCHEMA)[: len(RANKS_SCHEMA)] == list(RANKS_SCHEMA)


@pytest.mark.parametrize(
    ("name", "products", "relevance", "scores", "message"),
    [
        (
            "fashion_iq",
            [("a", "x"), ("b", "y")],
            [("q", "b", 1)],
            [[0, 0]],
            r"query 'q': its target is not in the gallery",
        ),
        ("cirr", letters("abc"), [("q", "b", 1)], [[0, 0, 0]], r"query 'q' has no subset with a target in it"),
        ("catalogue", letters("abc"), [("q", "b", 1)], [[0, np.nan, 0]], r"composed_sum: scores .* must be finite"),
        ("catalogue", letters("abc"), [("q", "b", 1)], [[0, 0]], r"composed_sum: scores \(1, 2\)"),
    ],
)
def test_what_cannot_be_ranked_is_one_line(name, products, relevance, scores, message):
    with pytest.raises(ValueError, match=message):
        figures_of(gallery_of(products, [("q", "a", [])], relevance), scores, name)


def test_a_split_without_queries_has_no_figures():
    rows = pl.DataFrame(schema=COMPOSED_RANKS_SCHEMA)
    assert composed_trees(rows, COMPOSED_PROTOCOLS["cirr"], NO_SLICES) == ({}, {})


@pytest.mark.parametrize("name", PROTOCOL_METRICS)
def test_the_figures_that_may_choose_an_epoch_are_those_of_the_protocol(name):
    gallery = gallery_of(letters("abcdef"), [("q1", "a", list("abcdef"))], [("q1", "b", 1)])
    figures, *_ = figures_of(gallery, [np.linspace(0.9, 0.1, 6)], name)
    assert set(PROTOCOL_METRICS[name]) == {one for one in get_args(ComposedMetric) if one in figures}

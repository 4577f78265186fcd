"""Corrections of hubness, from the stores of embed to metrics.json: a slow loop, banks of training texts, errors."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from embedded_project import make_project, unit_rows
from measured import measure
from metric_paths import undescribed

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.ensembling.query_bank import QueryBank
from pipeline_lib.evaluation import hubness
from pipeline_lib.evaluation.jackknife import Difference
from pipeline_lib.inference.query_bank import bank_queries
from pipeline_lib.metrics.ranking import RANK_FIGURES
from pipeline_lib.params.requirements import check_hubness
from pipeline_lib.params.section import load_params
from pipeline_lib.stores.store import open_store, write_store
from stages import ensemble

ROOT = Path(__file__).parents[2]
TRAINING = ["q-p0", "q-p1", "q-p2", "q-p3", "q-p5"]  # q-p4 is answered in test, too
KINDS = ("inverted_softmax", "dual_softmax", "qb_norm")


def write_banks(ids=TRAINING):
    for number, folder in enumerate(sorted({file.parent for file in paths.EMBED.rglob("classes.json")})):
        fold, scale = folder.parts[-2:]
        rows = unit_rows(np.random.default_rng(900 + number), len(ids))
        write_store(folder / "bank", ids, rows, (f"model-{fold}", f"{scale}px"))


def ask(*kinds):
    text = Path("params.yaml").read_text(encoding="utf-8")
    asked = text.replace("  hubness: []\n", f"  hubness: [{', '.join(kinds)}]\n").replace(
        "query_bank: 0", "query_bank: 9"
    )
    Path("params.yaml").write_text(asked, encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch):
    make_project(tmp_path, monkeypatch)
    write_banks()


def run(*kinds):
    ask(*kinds)
    ensemble.main()
    measure()
    return read_object(paths.METRICS), read_object(paths.INTERVALS)


def slow_hits(split, kind, temperature):
    """Whether each answered query of a split has a right answer first, by float64 scores and one pair at a time."""
    relevance = pl.read_parquet(paths.CATALOGUE / "relevance.parquet")
    right = {query: set(part["product_id"]) for (query,), part in relevance.group_by("query_id")}
    hits = []
    for folder in [paths.ENSEMBLE / "test"] if split == "test" else sorted(paths.ENSEMBLE.glob("oof-*")):
        queries, products, bank = (open_store(folder / name) for name in ("queries", "products", "bank"))
        queries_, items, banked = (np.asarray(store.matrix, np.float64) for store in (queries, products, bank))
        scores, bank_scores = queries_ @ items.T, banked @ items.T
        hubs = {int(row.argmax()) for row in bank_scores}
        over = scores if kind == "dual_softmax" else bank_scores
        sums = [sum(math.exp(row[item] / temperature) for row in over) for item in range(len(items))]
        for query, row in zip(queries.ids, scores, strict=True):
            factor = [math.exp(score / temperature) / total for score, total in zip(row, sums, strict=True)]
            corrected = [s * f for s, f in zip(row, factor, strict=True)] if kind == "dual_softmax" else factor
            if kind == "qb_norm" and int(row.argmax()) not in hubs:
                corrected = row.tolist()
            hits.append(products.ids[int(np.argmax(corrected))] in right[query])
    return hits


def test_figures_stand_beside_the_plain_ones_and_equal_a_slow_loop(project):
    plain, plain_intervals = run()
    before = pl.read_parquet(paths.EVALUATION / "ranks.parquet")
    figures, intervals = run(*KINDS)
    assert undescribed(figures) == []
    temperatures = load_params(Path("params.yaml"))["evaluate"]["hubness_temperature"]
    for split in ("oof", "test"):
        own = figures[split].pop("retrieval_hubness")
        assert list(own) == sorted(KINDS)
        for kind in KINDS:
            directions = own[kind]
            assert list(directions) == (["image_to_text"] * (kind == "dual_softmax")) + ["text_to_image"]
            text = directions["text_to_image"]
            assert text["R@1"] == pytest.approx(np.mean(slow_hits(split, kind, temperatures[kind])), abs=1e-6), kind
            usual = plain[split]["retrieval"]["text_to_image"]
            assert text["num_queries"] == usual["num_queries"] and text["temperature"] == temperatures[kind]
            limits = intervals[split]["retrieval_hubness"][kind]["text_to_image"]
            for name in RANK_FIGURES:
                assert text["difference"][name] == pytest.approx(text[name] - usual[name], abs=2e-6)
                assert limits[name][0] <= text[name] <= limits[name][1]
                # The queries of a split are in five groups at most, which bound no median.
                assert (name in limits["difference"]) == (name != "median_rank")
                low, high = limits["difference"].get(name, (-np.inf, np.inf))
                assert low <= text["difference"][name] <= high
    # What is named by what it reads: test queries, or training queries.
    assert own["dual_softmax"]["text_to_image"]["num_test_queries"] == 4
    assert own["dual_softmax"]["text_to_image"]["num_training_queries"] == 0
    assert own["qb_norm"]["text_to_image"]["num_test_queries"] == 0
    assert own["qb_norm"]["text_to_image"]["num_training_queries"] == len(TRAINING)
    assert figures == plain  # no plain figure moved
    assert {
        split: intervals[split].pop("retrieval_hubness") and intervals[split] for split in intervals
    } == plain_intervals
    ranks = pl.read_parquet(paths.EVALUATION / "ranks.parquet")
    assert ranks.filter(pl.col("direction").is_in(["text_to_image", "image_to_text"])).equals(before)
    assert {"text_to_image_qb_norm", "image_to_text_dual_softmax"} <= set(ranks["direction"])


def test_differences_have_intervals_that_end_where_their_figures_do(project, monkeypatch):
    wide = [Difference(0.0, -99.0, 99.0)] * len(RANK_FIGURES)
    monkeypatch.setattr(hubness, "paired_differences", lambda *_: wide)
    figures, intervals = run("qb_norm")
    for split in ("oof", "test"):
        widest = figures[split]["retrieval"]["text_to_image"]["num_gallery"] - 1
        limits = intervals[split]["retrieval_hubness"]["qb_norm"]["text_to_image"]["difference"]
        assert limits["R@1"] == [-1, 1] and limits["mean_rank"] == [-widest, widest]


def test_a_gallery_s_bank_has_no_text_that_is_answered_in_it(project):
    run("qb_norm")
    # p0 and p1 (fold 0) answer each other's text; q-p3 and q-p5 are fold 1's.
    ids = {name: open_store(paths.ENSEMBLE / name / "bank").ids for name in ("oof-0", "oof-1", "test")}
    assert ids == {"oof-0": ["q-p3", "q-p5"], "oof-1": ["q-p0", "q-p1", "q-p2"], "test": TRAINING}


def test_test_is_not_corrected_by_texts_that_no_model_was_trained_on():
    answers = pl.DataFrame(
        {"query_id": ["a", "b", "c", "c"], "split": ["train"] * 4, "fold": [0, 1, 0, None]},
        schema_overrides={"fold": pl.Int64},
    )
    from pipeline_lib.ensembling.galleries import GalleryMembers

    test = GalleryMembers("test", None, pl.DataFrame(), [])
    # With fold 0 alone, the texts of fold 0 (a published val split) only chose a checkpoint.
    assert QueryBank(answers, [0]).of(test, ["a", "b", "c"]) == ["b"]
    assert QueryBank(answers, [0, 1]).of(test, ["a", "b", "c"]) == ["a", "b", "c"]


def test_bank_queries_have_no_answer_in_test_and_are_drawn_by_their_ids():
    ids = [f"q{number}" for number in range(40)]
    queries = pl.DataFrame({"query_id": ids, "kind": ["text"] * 39 + ["composed"], "text": ids, "split": [None] * 40},
                           schema_overrides={"split": pl.String})  # fmt: skip
    relevance = pl.DataFrame({"query_id": [*ids, "q3"], "product_id": ["p"] * 38 + ["t", "p", "t"], "grade": 1})
    folds = pl.DataFrame({"product_id": ["p", "t"], "split": ["train", "test"], "fold": [0, None]})
    every = bank_queries(queries, relevance, folds, 1000)["query_id"].to_list()
    assert every == sorted(set(ids) - {"q3", "q38", "q39"})
    some = bank_queries(queries, relevance, folds, 10)["query_id"].to_list()
    more = bank_queries(queries, relevance, folds, 11)["query_id"].to_list()
    assert len(some) == 10 and some == sorted(some) and set(some) < set(more)
    assert some != every[:10]


def test_without_a_bank_the_stage_says_what_to_set(project, capsys):
    for folder in paths.EMBED.rglob("bank"):
        for file in folder.iterdir():
            file.unlink()
    ask("qb_norm")
    ensemble.main()
    with pytest.raises(SystemExit):
        measure()
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "error" in one]
    assert "oof (fold 0) has no bank of training texts; set embed.query_bank above 0" in line


def test_banks_of_different_texts_are_refused(project, capsys):
    rows = unit_rows(np.random.default_rng(0), 2)
    write_store(paths.embed_of(1, 80) / "bank", ["q-p0", "q-p1"], rows, ("model-1", "80px"))
    with pytest.raises(SystemExit):
        ensemble.main()
    assert "not the bank of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("hubness", "bank", "protocol", "error"),
    [
        (["qb_norm"], 0, "catalogue", "qb_norm needs training texts, but embed.query_bank = 0"),
        (["dual_softmax", "inverted_softmax"], 0, "muge", "inverted_softmax needs training texts"),
        (["dual_softmax"], 0, "row_paired", "evaluate.protocol = row_paired has none"),
        (["dual_softmax", "dual_softmax"], 0, "catalogue", "has the same item twice"),
    ],
)
def test_settings_that_cannot_work_are_one_line(hubness, bank, protocol, error):
    params = load_params(ROOT / "params.yaml")
    params["evaluate"] |= {"hubness": hubness, "protocol": protocol}
    params["embed"]["query_bank"] = bank
    with pytest.raises(ValueError, match=error):
        check_hubness(params, Path("params.yaml"))


def test_dual_softmax_needs_no_bank():
    params = load_params(ROOT / "params.yaml")
    params["evaluate"]["hubness"] = ["dual_softmax"]
    check_hubness(params, Path("params.yaml"))

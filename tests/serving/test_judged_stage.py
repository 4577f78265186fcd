"""The stage judged on a real small model and a file of thumbs: scores of judged products, figures, counts, refusals."""

import csv
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from dvc.utils.hydra import apply_overrides
from machine_names import files_in, naming

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object, read_table
from pipeline_lib.artifacts.schemas import JUDGED_QUERIES_SCHEMA
from pipeline_lib.evaluation.judged import JudgedQuery, judged_figures, judged_table, judged_trees
from pipeline_lib.serving.judged import read_grades, read_judged_vectors, score_judged
from pipeline_lib.serving.judgements import HEADER, JudgementFile
from pipeline_lib.serving.text_embedder import TextEmbedder
from pipeline_lib.stores.store import open_store
from stages import judged

GALLERY = paths.GALLERY / "0"
# p0 and p12 are one thing; `gone` is no product of the gallery.
THUMBS = [
    ("red mug", "p0", 1), ("red mug", "p1", 0), ("red mug", "p5", 1), ("red mug", "p7", 0), ("red mug", "gone", 1),
    ("blue hat", "p2", 0), ("blue hat", "p3", 1), ("blue hat", "p3", None), ("blue hat", "p2", 1),
    ("blue hat", "p8", 0), ("a lamp", "p4", 0), ("green", "p6", 1), ("old", "gone", 1),
]  # fmt: skip
STANDING = {
    "red mug": {"p0": 1, "p1": 0, "p5": 1, "p7": 0},
    "blue hat": {"p2": 1, "p8": 0},
    "a lamp": {"p4": 0},
    "green": {"p6": 1},
}


@pytest.fixture(scope="module")
def params(served_root, tmp_path_factory):
    """The params.yaml of a project whose fold 0 is judged."""
    path = Path(shutil.copy(served_root / "params.yaml", tmp_path_factory.mktemp("params")))
    apply_overrides(path, ["plan.judged=[0]", "index.photo_weight=0.7"])
    return path


@pytest.fixture
def project(served_root, params, tmp_path, monkeypatch):
    """A project with the model and the gallery of the served one, whose fold 0 is judged."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(params, tmp_path)
    for folder in (paths.TRAIN, paths.GALLERY):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(served_root / folder)
    monkeypatch.setattr(sys, "argv", ["stages.judged", "--fold", "0"])


def judge(thumbs, name="judgements.csv"):
    file = JudgementFile(paths.JUDGEMENTS / name)
    for query, product_id, grade in thumbs:
        file.add(query, product_id, grade, "served · fold 0")


def slow_score(query, product_id):
    """The score by the definition: the text's embedding times 0.7 photo + 0.3 text, of unit length."""
    vector = TextEmbedder(paths.train_of(0), 1.0).embed([query])[0].astype(np.float64)
    photos, texts = (open_store(GALLERY / name) for name in (paths.GALLERY_PHOTOS, paths.GALLERY_TEXTS))
    own = photos.rows([product_id])[0].astype(np.float64)
    if product_id in texts.ids:
        own = 0.7 * own + 0.3 * texts.rows([product_id])[0]
    return float(vector @ own / np.linalg.norm(own))


def refusal(capsys):
    with pytest.raises(SystemExit):
        judged.main()
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_figures_are_those_of_the_standing_thumbs_by_a_slow_loop(other_machine, project, capsys):
    judge(THUMBS)
    judged.main()
    figures, intervals = (read_object(paths.judged_of(0) / f"{name}.json") for name in ("figures", "intervals"))
    ndcgs, shares = [], []
    for query, grades in STANDING.items():
        order = sorted(grades, key=lambda key, query=query: -slow_score(query, key))
        gain = sum(grades[key] / math.log2(place + 2) for place, key in enumerate(order))
        best = sum(1 / math.log2(place + 2) for place in range(sum(grades.values())))
        right, wrong = ([key for key in order if grades[key] == grade] for grade in (1, 0))
        if right:
            ndcgs.append(gain / best)
        if right and wrong:
            shares.append(np.mean([order.index(one) < order.index(other) for one in right for other in wrong]))
    assert figures["nDCG@10"] == pytest.approx(np.mean(ndcgs), abs=1e-6)
    assert figures["preference"] == pytest.approx(np.mean(shares), abs=1e-6)
    counts = {name: figures[name] for name in figures if name.startswith("num_")}
    # Standing: the eight of the table above, and two of a product that is gone.
    assert counts == {"num_queries": 3, "num_with_both": 2, "num_judgements": 10, "num_unknown": 2}
    assert intervals.keys() == {"nDCG@10", "preference"}
    assert all(low <= figures[name] <= high for name, (low, high) in intervals.items())
    assert "2 judgements are of products that the gallery does not have" in capsys.readouterr().out
    assert judged_trees([0]) == ({"judged": {"0": figures}}, {"judged": {"0": intervals}})
    assert not naming(files_in(paths.JUDGED), str(Path.cwd()))
    table = read_table(paths.judged_of(0) / "queries.parquet")
    assert table.schema == pl.Schema(JUDGED_QUERIES_SCHEMA)
    assert table["query"].to_list() == ["blue hat", "green", "red mug"]  # "a lamp" has no right product
    assert table["ndcg"].to_list() == pytest.approx([ndcgs[1], ndcgs[2], ndcgs[0]])
    assert table["preference"].to_list() == [pytest.approx(shares[1]), None, pytest.approx(shares[0])]
    # The product that is gone is in no column.
    assert table.select("num_right", "num_wrong").rows() == [(1, 1), (1, 0), (2, 2)]
    assert table["right"].to_list() == [["p2"], ["p6"], ["p0", "p5"]]
    assert table["ranked"][2].to_list() == sorted(STANDING["red mug"], key=lambda key: -slow_score("red mug", key))


def test_a_hand_worked_query_in_the_table():
    """The example of docs/metrics.md: a block of equal scores at places 2 and 3 with one right product."""
    query = JudgedQuery("mug", ["d", "c", "b", "a"], np.array([0.9, 0.5, 0.5, 0.1]), np.array([0.0, 1, 0, 1]))
    (row,) = judged_table([query]).to_dicts()
    assert row["ndcg"] == pytest.approx(((1 / math.log2(3) + 0.5) / 2 + 1 / math.log2(5)) / (1 + 1 / math.log2(3)))
    assert (row["preference"], row["num_right"], row["num_wrong"]) == (1 / 8, 2, 2)
    # Equal scores in the order of the ids.
    assert (row["ranked"], row["right"]) == (["d", "b", "c", "a"], ["a", "c"])


def test_the_fingerprint_is_that_of_the_judged_products_and_their_grades_alone():
    def fingerprint(grades, scores=(3.0, 2.0, 1.0), query="mug"):
        one = JudgedQuery(query, list(grades), np.array(scores[: len(grades)]), np.array([*grades.values()], float))
        return judged_table([one])["fingerprint"][0]

    same = {"a": 1, "b": 0, "c": 1}
    expected = fingerprint(same)
    assert fingerprint(same, (1.0, 2.0, 3.0)) == expected and fingerprint(same, query="cup") == expected
    assert fingerprint({key: same[key] for key in "cba"}) == expected
    for other in ({"a": 1, "b": 1, "c": 1}, {"a": 0, "b": 1, "c": 1}, {"a": 1, "b": 0}, {"a": 1, "b": 0, "d": 1}):
        assert fingerprint(other) != expected


def test_scores_are_those_of_an_index_of_all_products(project):
    judge(THUMBS)
    grades = read_grades(paths.JUDGEMENTS)
    products = read_judged_vectors(GALLERY, grades, 0.7)
    assert sorted(products.row_of) == ["p0", "p1", "p2", "p4", "p5", "p6", "p7", "p8"]  # no other row is read
    scored = dict(
        zip(sorted(STANDING), score_judged(grades, products, TextEmbedder(paths.train_of(0), 1.0)), strict=True)
    )
    for query, own in STANDING.items():
        assert scored[query].scores == pytest.approx([slow_score(query, key) for key in sorted(own)], abs=1e-6)


def test_the_best_and_the_worst_thumbs_for_a_model_are_1_and_0(project):
    ids = [f"p{number}" for number in range(12)]
    ranked = sorted(ids, key=lambda key: -slow_score("red mug", key))
    for grades, expected in (([1] * 4 + [0] * 8, 1), ([0] * 8 + [1] * 4, 0)):
        judge([("red mug", key, grade) for key, grade in zip(ranked, grades, strict=True)])
        judged.main()
        figures = read_object(paths.judged_of(0) / "figures.json")
        assert figures["preference"] == expected
        assert (figures["nDCG@10"] == 1) == (expected == 1)
        assert 0 < figures["chance"]["nDCG@10"] < 1


def test_a_model_that_scores_everything_alike_has_the_figures_of_chance():
    rng = np.random.default_rng(2)
    ids = [f"p{number}" for number in range(15)]
    grades = [np.append(rng.integers(0, 2, 13), [0, 1]).astype(float) for _ in range(9)]
    figures, _ = judged_figures(
        judged_table(JudgedQuery(f"query {place}", ids, np.zeros(15), own) for place, own in enumerate(grades))
    )
    assert figures["preference"] == 0.5 and figures["nDCG@10"] == figures["chance"]["nDCG@10"]


def test_files_of_several_servers_are_one_and_the_last_line_counts(project):
    paths.JUDGEMENTS.mkdir(parents=True)
    rows = {
        "a": [("q", "p1", 1, "2026-01-01T10:00:00+00:00"), ("q", "p2", 1, "2026-01-01T12:00:00+00:00"),
              ("q", "p3", 1, "2026-01-01T13:00:00+00:00"), ("q", "p3", 0, "2026-01-01T12:59:59+00:00")],
        "b": [("q", "p1", 0, "2026-01-01T11:00:00+00:00"), ("q", "p2", 0, "2026-01-01T11:00:00+00:00")],
    }  # fmt: skip
    for name, lines in rows.items():
        with (paths.JUDGEMENTS / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            table = [(query, key, grade, "m", time) for query, key, grade, time in lines]
            csv.writer(stream).writerows([HEADER, *table])
    # Within a file the order of the lines counts, even if its clock went back.
    assert read_grades(paths.JUDGEMENTS) == {"q": {"p1": 0, "p2": 1, "p3": 0}}


def test_thumbs_down_alone_are_counted_and_give_no_figure(project, capsys):
    judge([("red mug", "p0", 0), ("red mug", "p1", 0)])
    judged.main()
    figures = read_object(paths.judged_of(0) / "figures.json")
    assert figures == {"num_queries": 0, "num_with_both": 0, "num_judgements": 2, "num_unknown": 0}
    assert read_object(paths.judged_of(0) / "intervals.json") == {}
    assert read_table(paths.judged_of(0) / "queries.parquet").is_empty()
    assert "no query has a right product" in capsys.readouterr().out


def test_without_a_file_or_with_a_broken_line_it_says_what_to_do(project, capsys):
    paths.JUDGEMENTS.mkdir(parents=True)
    assert "data/judgements: no judgements to measure; give thumbs up and down on the page" in refusal(capsys)
    judge(THUMBS[:2])
    with (paths.JUDGEMENTS / "judgements.csv").open("a", encoding="utf-8") as stream:
        stream.write("red mug,p4,perhaps,m,t\n")
    assert "judgements.csv: line 4: 'red mug,p4,perhaps,m,t' is no judgement; remove it" in refusal(capsys)
    assert not paths.judged_of(0).exists()


def test_the_gallery_of_another_model_is_refused(project, served_root, capsys):
    judge(THUMBS)
    paths.GALLERY.unlink()
    paths.GALLERY.mkdir()
    GALLERY.symlink_to(served_root / paths.GALLERY / "1")
    assert "the gallery was embedded by model" in refusal(capsys)
    GALLERY.unlink()
    GALLERY.mkdir()
    assert "no embeddings to compare; set the weight of losses.info_nce" in refusal(capsys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("plan.judged=[2]", "plan.judged has fold 2, which plan.search has not; choose among [0, 1]"),
        ("plan.judged=[0,0]", "plan.judged has the same item twice: [0, 0]"),
    ],
)
def test_folds_that_cannot_be_judged_are_refused(project, capsys, change, message):
    apply_overrides(Path("params.yaml"), [change])
    assert message in refusal(capsys)

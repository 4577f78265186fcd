"""`vitrine compare` of judged queries in a repository: a run of an older version, an experiment, the workspace."""

import json

import pytest
from compared_runs import judged_file, make_run, with_judged, write_run

from pipeline_lib.artifacts import paths
from pipeline_lib.cli.compare import compare
from pipeline_lib.experiments.compare.runs import FILES

COUNT = 24
FILE = judged_file(0)


def queries(state):
    """Each query has a right and a wrong product; in the last state every second one has them in the right order."""
    return {
        f"mug <{number}>": {"p0": (1, 0), "p1": (2 if state == 2 and number % 2 else 0, 1)} for number in range(COUNT)
    }


def write(root, state):
    """The first run is one of a version that wrote no table; all retrieve alike."""
    write_run(root, with_judged(make_run([1] * 8, seed=state), queries(state)))
    if state == 0:
        (root / FILE).unlink()
    (root / FILE.parent / paths.JUDGED_FIGURES).write_text("{}", encoding="utf-8")


@pytest.fixture(scope="module")
def repository(three_states):
    outs = sorted({file.parent.as_posix() for file in (*FILES, FILE) if file.parent.name})
    return three_states(f"stages:\n  evaluate:\n    cmd: 'true'\n    outs: {outs}\n", write)


@pytest.fixture(autouse=True)
def project(repository, monkeypatch):
    monkeypatch.chdir(repository)


def test_a_pipe_gets_both_figures(vitrine):
    result = vitrine("compare", "tried", "--only", "judged_0", "--primary", "judged_0.nDCG@10")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[:6] for row in rows] == [
        ["all", "judged_0", "preference", "b", "0.0000", "0.5000"],
        ["all", "judged_0", "nDCG@10", "b", "0.6309", "0.8155"],
    ]
    assert {row[-1] for row in rows} == {"b is better"}
    assert "The declared figure (*), nDCG@10 of judged queries, fold 0, is tested alone" in result.stderr


def test_json_and_markdown_have_the_queries_that_changed(vitrine):
    document = json.loads(vitrine("compare", "tried", "--only", "judged_0", "--json").stdout)
    assert document["primary"] == "all.judged_0.preference" and document["left_out"] == []
    assert [row["wins"] for row in document["counts"]] == [COUNT // 2, COUNT // 2]
    assert {(one["a_value"], one["value"], one["rank"]) for one in document["changed"]} == {(0.0, 1.0, None)}
    text = vitrine("compare", "tried", "--only", "judged_0", "--md").stdout
    assert "### judged queries, fold 0\n" in text
    assert r"| mug \<11\> | b | preference 0.0000 | preference 1.0000 | better |" in text


def test_a_terminal_and_a_page_have_them_under_their_heading(in_terminal, vitrine, tmp_path):
    lines = [line.strip() for line in in_terminal(100, compare, ["tried", "workspace"])]
    assert "judged queries, fold 0" in lines and "test text > image" in lines
    page = tmp_path / "page.html"
    vitrine("compare", "tried", "--only", "judged_0", "--page", str(page))
    text = page.read_text(encoding="utf-8")
    assert "judged queries, fold 0: what changed most" in text and "mug &lt;11&gt;" in text
    assert "preference 0.0000" in text and "Right answer" in text and "fold 0" in text


def test_a_run_of_an_older_version_is_left_out_with_the_way_out(vitrine):
    document = json.loads(vitrine("compare", "first-run", "tried", "--json").stdout)
    assert document["left_out"] == [
        "judged_0 is left out: first-run has no data/work/judged/0/queries.parquet, which older versions of the code "
        "did not write; `dvc repro judged@0` in that run writes it"
    ]
    assert {row["task"] for row in document["comparisons"]} == {"text_to_image"}


def test_a_damaged_table_is_an_error_that_names_it(vitrine):
    stored = FILE.read_bytes()
    try:
        FILE.write_bytes(stored[:99])
        with pytest.raises(ValueError, match=r"data/work/judged/0/queries\.parquet: damaged"):
            vitrine("compare", "tried")
        assert vitrine("compare", "tried", "--only", "text_to_image").stdout
    finally:
        FILE.write_bytes(stored)

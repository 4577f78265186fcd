"""`vitrine headline`: the figures of metrics.json in a terminal, in a pipe and as JSON."""

import json

import pytest

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.cli.headline import headline_result
from pipeline_lib.cli.output import show

LEAF = {"R@1": 0.4721, "R@5": 0.8, "R@10": 0.91, "MeanRecall": 0.727, "median_rank": 2.0, "mean_rank": 5.31}
LEAF |= {"num_queries": 1234, "num_gallery": 500}
CHANCE = {"chance": {"R@1": 0.002, "R@5": 0.01, "R@10": 0.02}}
METRICS = {
    "test": {
        "retrieval": {"text_to_image": LEAF | CHANCE},
        "classification": {"top1": 0.9, "top3": 1.0, "macro_f1": 0.5},
    }
}
INTERVALS = {"test": {"retrieval": {"text_to_image": {"R@1": [0.4512, 0.4936]}}}}


@pytest.fixture
def printed(in_terminal):
    """The headline in a terminal of 80 columns."""
    return lambda metrics, intervals: "\n".join(
        in_terminal(80, show, headline_result(metrics, intervals, "/index.html"), False)
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "reports" / "metrics.json", METRICS)
    write_json(tmp_path / "reports" / "intervals.json", INTERVALS)
    return tmp_path


def test_all_figures_and_intervals_fit_80_columns(printed):
    text = printed(METRICS, INTERVALS)
    for part in ("47.2 %", "45.1–49.4", "72.7 %", "1,234", "500", "90.0 %", "Macro-F1", "text → image"):
        assert part in text
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert "Out of fold" not in text and text.endswith("report: /index.html")


def test_judged_queries_are_a_table_of_their_own(printed):
    leaf = {"nDCG@10": 0.6114, "preference": 0.125, "num_queries": 20, "num_with_both": 12, "chance": {"nDCG@10": 0.5}}
    metrics = {"judged": {"0": leaf, "3": {"num_queries": 0, "num_with_both": 0}}}
    intervals = {"judged": {"0": {"nDCG@10": [0.5, 0.7212], "preference": [0.0, 0.3]}}}
    rows = headline_result(metrics, intervals, "/index.html").rows
    assert rows == [
        ("judged", "fold_0", "nDCG@10", "0.611", "0.500–0.721", "0.500"),
        ("judged", "fold_0", "preference", "12.5 %", "0.0–30.0", ""),
        ("judged", "fold_0", "num_queries", "20", "", ""),
    ]
    text = printed(METRICS | metrics, INTERVALS | intervals)
    assert "Judged queries" in text and "0.500–0.721" in text and max(map(len, text.splitlines())) <= 80


def test_widest_real_rows_still_fit(printed):
    full = {key: [0.9, 1.0] for key in LEAF} | {"median_rank": [1204.0, 1350.0]}
    leaf = {"text_to_image": LEAF, "image_to_text": LEAF}
    both = {split: {"retrieval": leaf} for split in ("oof", "test")}
    intervals = {split: {"retrieval": dict.fromkeys(leaf, full)} for split in both}
    text = printed(both, intervals)
    assert "…" not in text and text.count("90.0–100.0") == 16
    assert text.index("Test") < text.index("Out of fold") and "R_subset" not in text
    both["test"] = {"retrieval": {"text_to_image": LEAF | {"R_subset@1": 0.831}, "image_to_text": LEAF}}
    text = printed(both, intervals)
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert text.count("R_subset@1") == 1 and "83.1 %" in text


def test_a_run_without_figures_is_one_line(printed):
    assert "Nothing was evaluated" in printed({"data": {"products": 3}}, {})


def test_total_and_sum_of_both_directions_are_printed_in_percent(printed):
    plain = printed(METRICS, INTERVALS)
    tree = {"test": {"retrieval": {**METRICS["test"]["retrieval"], "total_mR": 0.32105, "sum": 1.9263}}}
    spans = {"test": {"retrieval": {"total_mR": [0.31, 0.33], "sum": [1.86, 1.98]}}}
    text = " ".join(printed(tree, spans).split())
    assert "Test, both directions, in percent: total mR 32.1" in text and "sum 192.63 (186.00–198.00)" in text
    assert "both directions" not in plain


def test_a_pipe_gets_one_figure_a_line_and_the_reports_path_as_a_note(vitrine, project):
    result = vitrine("headline")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert rows[0] == ["test", "text_to_image", "R@1", "47.2 %", "45.1–49.4", "0.2 %"]
    assert rows[-1] == ["test", "classification", "macro_f1", "50.0 %", "", ""]
    assert len(rows) == len(LEAF) + 3
    assert result.stderr == f"report: {project / 'reports' / 'index.html'}\n"


def test_settings_that_were_changed_after_the_run_are_named_first(vitrine, project):
    lock = "params: {params.yaml: {evaluate: {seed: 7}}}\n    outs: [{path: reports/metrics.json}]"
    (project / "dvc.yaml").write_text("stages: {evaluate: {}}\n", encoding="utf-8")
    (project / "dvc.lock").write_text(f"stages:\n  evaluate:\n    {lock}\n", encoding="utf-8")
    line = "these figures are of the last run; evaluate.seed changed since: run `dvc repro`"
    for seed, named in ((7, False), (8, True)):
        (project / "params.yaml").write_text(f"evaluate: {{seed: {seed}}}\n", encoding="utf-8")
        assert (vitrine("headline").stderr.splitlines()[0] == line) == named
        assert (line in json.loads(vitrine("headline", "--json").stdout)["cautions"]) == named


def test_json_holds_the_exact_values(vitrine, project):
    document = json.loads(vitrine("headline", "--json").stdout)
    assert document["report"] == str(project / "reports" / "index.html")
    assert document["figures"][0] == {
        "split": "test", "task": "text_to_image", "metric": "R@1", "value": 0.4721, "low": 0.4512, "high": 0.4936,
        "chance": 0.002, "no_figure": False,
    }  # fmt: skip
    values = {figure["metric"]: figure["value"] for figure in document["figures"] if figure["task"] == "text_to_image"}
    assert values == LEAF
    assert document["figures"][-1] == {
        "split": "test", "task": "classification", "metric": "macro_f1", "value": 0.5, "low": None, "high": None,
        "chance": None, "no_figure": False,
    }  # fmt: skip


def test_a_project_without_a_run_is_an_error(vitrine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"reports/metrics\.json: no such file; run `dvc repro`"):
        vitrine("headline")


def test_a_gallery_below_k_has_no_figure_and_a_line_that_says_why(printed, vitrine, project):
    leaf = LEAF | {"R@10": 1.0, "num_gallery": 9, "chance": {"R@1": 1 / 9, "R@5": 5 / 9, "R@10": 1.0}}
    metrics = {"test": {"retrieval": {"text_to_image": leaf}}}
    text = printed(metrics, INTERVALS)
    # Chance alone, below "no figure".
    assert "figure" in text and text.split("Test, text")[0].count("100.0 %") == 1
    assert "R@10 of 9 products is no figure" in " ".join(text.split())
    assert max(map(len, text.splitlines()[:6])) <= 80
    write_json(project / "reports" / "metrics.json", metrics)
    result = vitrine("headline")
    assert "test\ttext_to_image\tR@10\tno figure\t\t100.0 %\n" in result.stdout
    assert "R@10 of 9 products is no figure" in result.stderr
    document = json.loads(vitrine("headline", "--json").stdout)
    (at_10,) = [figure for figure in document["figures"] if figure["metric"] == "R@10"]
    assert (at_10["value"], at_10["chance"], at_10["no_figure"]) == (1.0, 1.0, True)
    assert any("R@10 of 9 products" in line for line in document["cautions"])


def test_composed_retrieval_has_a_table_and_rows(printed, capsys):
    own = {
        "R@1": 0.25,
        "R_subset@1": 0.5,
        "num_queries": 40,
        "num_gallery": 12.0,
        "chance": {"R@1": 0.1, "R_subset@1": 0.2},
    }
    metrics = {"composed": {kind: {"test": own} for kind in ("sum", "image_only")}}
    intervals = {"composed": {"sum": {"test": {"R@1": [0.125, 0.375], "R_subset@1": [0.375, 0.625]}}}}
    result = headline_result(metrics, intervals, "page")
    assert result.rows[:2] == [
        ("test", "composed_sum", "R@1", "25.0 %", "12.5–37.5", "10.0 %"),
        ("test", "composed_sum", "R_subset@1", "50.0 %", "37.5–62.5", "20.0 %"),
    ]
    assert result.data["figures"][0]["chance"] == 0.1 and result.data["figures"][0]["low"] == 0.125
    assert {row[1] for row in result.rows} == {"composed_sum", "composed_image_only"}
    shown = printed(metrics, intervals)
    assert "Composed retrieval (95 % interval and chance below)" in " ".join(shown.split())
    assert "12.5–37.5" in shown and max(map(len, shown.splitlines())) <= 80
    # Two lines below a figure of each kind is its chance.
    lines = shown.splitlines()
    for figure, chance in (("25.0 %", "10.0"), ("50.0 %", "20.0")):
        figures = [number for number, line in enumerate(lines) if figure in line]
        assert len(figures) == 2
        assert all(lines[number + 2].split()[-2:] == [chance, "%"] for number in figures)
    # Trained kinds come first; the towers' own rows say that nothing was trained.
    names = [line.split("  ")[0].strip() for line in lines if line.startswith((" Sum", " Image only", " untrained"))]
    assert names == ["Sum", "Image only", "untrained"] * 2


def test_all_figures_of_each_composed_protocol_fit_80_columns(printed):
    cirr = ["mean", *(f"R@{k}" for k in (1, 5, 10, 50)), *(f"R_subset@{k}" for k in (1, 2, 3))]
    cirr += [f"R_soft@{k}" for k in (1, 5, 10, 50)]
    circo = [f"{name}@{k}" for name in ("mAP", "R") for k in (5, 10, 25, 50)]
    for names in (cirr, circo):
        values = {name: 0.41 + number / 50 for number, name in enumerate(names)}
        own = values | {"num_queries": 40, "num_gallery": 300, "chance": dict.fromkeys(names, 0.111)}
        kinds = ("sum", "sum_untrained", "image_only")
        trees = ({"composed": {kind: dict.fromkeys(("test", "oof"), leaf) for kind in kinds}} for leaf in (
            own, {name: [value - 0.05, value + 0.05] for name, value in values.items()}))  # fmt: skip
        text = printed(*trees)
        assert "…" not in text and max(map(len, text.splitlines())) <= 80
        for value in values.values():
            assert text.count(f"{100 * value:.1f} %") == 6
            assert text.count(f"{100 * (value - 0.05):.1f}–{100 * (value + 0.05):.1f}") == 6


def test_a_split_without_soft_answers_has_no_row_in_their_table(printed):
    leaf = {"R@1": 0.25, "num_queries": 40, "num_gallery": 12.0, "chance": {"R@1": 0.1}}
    soft = leaf | {"R_soft@1": 0.5, "chance": {"R@1": 0.1, "R_soft@1": 0.2}}
    text = printed({"composed": {"sum": {"test": soft, "oof": leaf}}}, {})
    assert "soft@1" in text and "Out of fold" not in text.split("soft@1")[1]

"""The terminal's headline tells what metrics.json holds."""

import pytest
from rich.console import Console

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.report import headline as module
from pipeline_lib.report.headline import headline, percent, rank, retrieval_rows

LEAF = {"R@1": 0.4721, "R@5": 0.8, "R@10": 0.91, "MeanRecall": 0.727, "median_rank": 2.0, "mean_rank": 5.31}
LEAF |= {"num_queries": 1234, "num_gallery": 500}
METRICS = {
    "test": {"retrieval": {"text_to_image": LEAF}, "classification": {"top1": 0.9, "top3": 1.0, "macro_f1": 0.5}}
}
INTERVALS = {"test": {"retrieval": {"text_to_image": {"R@1": [0.4512, 0.4936]}}}}


def printed(metrics, intervals, width=80) -> str:
    console = Console(width=width, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as capture:
        console.print(headline(metrics, intervals))
    return capture.get()


def test_all_figures_and_intervals_fit_80_columns():
    text = printed(METRICS, INTERVALS)
    for part in ("47.2 %", "45.1–49.4", "72.7 %", "1,234", "500", "90.0 %", "Macro-F1", "text → image"):
        assert part in text
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert "Out of fold" not in text


def test_widest_real_rows_still_fit():
    full = {key: [0.9, 1.0] for key in LEAF} | {"median_rank": [1204.0, 1350.0]}
    leaf = {"text_to_image": LEAF, "image_to_text": LEAF}
    both = {split: {"retrieval": leaf} for split in ("oof", "test")}
    intervals = {split: {"retrieval": dict.fromkeys(leaf, full)} for split in both}
    text = printed(both, intervals)
    assert "…" not in text and text.count("90.0–100.0") == 16
    assert text.index("Test") < text.index("Out of fold")


def test_nothing_evaluated_is_said():
    assert "Nothing was evaluated" in printed({"data": {"products": 3}}, {})


def test_rows_hold_the_exact_values():
    (row,) = retrieval_rows(METRICS, INTERVALS)
    assert {figure.key: figure.value for figure in row.figures} == LEAF
    assert [figure.interval for figure in row.figures][:2] == [(0.4512, 0.4936), None]


@pytest.mark.parametrize(("value", "text"), [(0, "0.0 %"), (1, "100.0 %"), (0.0005, "0.05 %"), (0.00123, "0.1 %")])
def test_small_shares_keep_a_digit(value, text):
    assert percent(value) == text


@pytest.mark.parametrize(("value", "text"), [(1.0, "1"), (9.96, "10.0"), (12.4, "12"), (14903.0, "14,903")])
def test_ranks_drop_what_nobody_reads(value, text):
    assert rank(value) == text


def test_the_command_prints_figures_and_where_the_report_lies(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "reports" / "metrics.json", METRICS)
    write_json(tmp_path / "reports" / "intervals.json", INTERVALS)
    module.main()
    out = capsys.readouterr().out
    assert "47.2 %" in out and f"report: {tmp_path / 'reports' / 'index.html'}" in out


def test_total_and_sum_of_both_ways_stand_below_in_percent():
    plain = printed(METRICS, INTERVALS)
    tree = {"test": {"retrieval": {**METRICS["test"]["retrieval"], "total_mR": 0.32105, "sum": 1.9263}}}
    spans = {"test": {"retrieval": {"total_mR": [0.31, 0.33], "sum": [1.86, 1.98]}}}
    text = " ".join(printed(tree, spans).split())
    assert "Test, both ways in percent: total mR 32.1" in text and "sum 192.63 (186.00–198.00)" in text
    assert "both ways" not in plain

"""The line with the last and the best epoch that a run prints."""

import pytest

from pipeline_lib.training.history import IMAGE, TEXT, History, best_so_far


def row(epoch, text, image):
    """The row of an epoch from metrics in percent, as logs print them."""
    directions = [(names, [*recalls, sum(recalls) / 3]) for names, recalls in ((TEXT, text), (IMAGE, image))]
    metrics = {name: value / 100 for names, values in directions for name, value in zip(names, values, strict=True)}
    return {"epoch": epoch, "val_loss": 1.0, **metrics}


FIRST = row(0, (7.22, 19.32, 30.38), (6.64, 21.91, 35.53))
BEST = row(1, (16.75, 34.50, 45.63), (12.65, 37.18, 53.48))
LAST = row(2, (15.75, 31.63, 42.75), (11.50, 35.08, 50.45))
WRITTEN = [
    f"text R1 R5 R10 mR {text} | image R1 R5 R10 mR {image} | total mR {total}"
    for text, image, total in (
        ("7.22 19.32 30.38 18.97", "6.64 21.91 35.53 21.36", "20.17 sum 121.00"),
        ("16.75 34.50 45.63 32.29", "12.65 37.18 53.48 34.44", "33.37 sum 200.19"),
        ("15.75 31.63 42.75 30.04", "11.50 35.08 50.45 32.34", "31.19 sum 187.16"),
    )
]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([FIRST], f"epoch 0 now {WRITTEN[0]} || best 0 {WRITTEN[0]}"),
        ([FIRST, BEST], f"epoch 1 now {WRITTEN[1]} || best 1 {WRITTEN[1]}"),
        ([FIRST, BEST, LAST], f"epoch 2 now {WRITTEN[2]} || best 1 {WRITTEN[1]}"),
        (
            [BEST, {**LAST, **{key: BEST[key] for key in (*TEXT, *IMAGE)}}],
            f"epoch 2 now {WRITTEN[1]} || best 1 {WRITTEN[1]}",
        ),
    ],
)
def test_the_line_has_all_metrics_of_the_last_and_of_the_best_epoch(rows, line):
    assert best_so_far(rows) == line


def test_a_run_without_retrieval_has_no_line():
    assert best_so_far([{"epoch": 0, "val_loss": 1.0, "top1": 0.5}]) == ""


def test_without_a_terminal_it_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "60")
    history = History("run", [dict(FIRST)])
    history.add(dict(BEST), 1, "5 images/s")
    history.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].startswith("epoch 1  val_loss 1") and lines[0].endswith("5 images/s")
    assert lines[1] == f"epoch 1 now {WRITTEN[1]} || best 1 {WRITTEN[1]}"

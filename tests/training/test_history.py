"""The lines that a run prints after an epoch: all figures with their direction, and the epoch that is saved."""

import math

import pytest

from pipeline_lib.training.history import IMAGE, TEXT, History, epoch_lines


def row(epoch, text, image):
    """The row of an epoch from metrics in percent, as logs print them."""
    directions = [(names, [*recalls, sum(recalls) / 3]) for names, recalls in ((TEXT, text), (IMAGE, image))]
    metrics = {name: value / 100 for names, values in directions for name, value in zip(names, values, strict=True)}
    return {"epoch": epoch, "val_loss": 1.0, **metrics}


FIRST = row(0, (7.22, 19.32, 30.38), (6.64, 21.91, 35.53))
# The second epoch has the better sum of both directions, the third one the better text-to-image retrieval.
SECOND = row(1, (16.75, 34.50, 45.63), (12.65, 37.18, 53.48))
LAST = row(2, (15.75, 31.63, 42.75), (12.50, 38.08, 54.45))
WRITTEN = [
    f"image → text R1 R5 R10 mR {text} | text → image R1 R5 R10 mR {image} | total mR {total}"
    for text, image, total in (
        ("7.22 19.32 30.38 18.97", "6.64 21.91 35.53 21.36", "20.17 sum 121.00"),
        ("16.75 34.50 45.63 32.29", "12.65 37.18 53.48 34.44", "33.37 sum 200.19"),
        ("15.75 31.63 42.75 30.04", "12.50 38.08 54.45 35.01", "32.53 sum 195.16"),
    )
]


@pytest.mark.parametrize(
    ("rows", "best", "column", "name"),
    [
        ([FIRST], 0, "MeanRecall", "text → image MeanRecall"),
        ([FIRST, SECOND], 1, "i2t_MeanRecall", "image → text MeanRecall"),
        ([FIRST, SECOND, LAST], 2, "MeanRecall", "text → image MeanRecall"),
        ([FIRST, SECOND, LAST], 0, "val_loss", "val_loss"),
    ],
)
def test_the_line_has_all_metrics_of_the_last_epoch_and_of_the_saved_one(rows, best, column, name):
    last = len(rows) - 1
    _, line = epoch_lines(rows, "5 images/s", best, column)
    assert line == f"epoch {last} now {WRITTEN[last]} || best {best} by {name}: {WRITTEN[best]}"


def test_a_run_without_retrieval_names_the_saved_epoch_in_its_only_line():
    rows = [{"epoch": 0, "val_loss": 1.0, "top1": 0.625}, {"epoch": 1, "val_loss": 0.5, "top1": 0.5}]
    lines = epoch_lines(rows, "5 images/s", 0, "top1")
    assert lines == ["epoch 1  val_loss 0.5  top1 0.5  5 images/s  || best 0 by top1 0.625"]


def test_as_long_as_no_figure_is_finite_there_is_no_best_epoch():
    (line,) = epoch_lines([{"epoch": 0, "val_loss": math.nan}], "5 images/s", -1, "val_loss")
    assert line == "epoch 0  val_loss nan  5 images/s  || no best epoch: val_loss was not finite yet"


def test_without_a_terminal_it_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "60")
    history = History("run", [dict(FIRST)])
    history.add(dict(SECOND), 1)
    history.print_epoch("5 images/s", 1, "MeanRecall")
    history.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].startswith("epoch 1  val_loss 1") and lines[0].endswith("5 images/s")
    assert lines[1].endswith(f"|| best 1 by text → image MeanRecall: {WRITTEN[1]}")

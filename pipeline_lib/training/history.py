"""The history of a run: a row per epoch for history.csv, curves for a logger, and lines on the terminal."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from pipeline_lib.artifacts.messages import one_line
from pipeline_lib.artifacts.paths import project_root
from pipeline_lib.params.runtime import LoggerKind
from pipeline_lib.training.loggers import LOGGERS, CurveLogger

Row = dict[str, float]
# Columns of image-to-text and of text-to-image retrieval, the mean recall (mR) last.
TEXT = ("i2t_R@1", "i2t_R@5", "i2t_R@10", "i2t_MeanRecall")
IMAGE = ("R@1", "R@5", "R@10", "MeanRecall")
LONGEST_MESSAGE = 200
DIRECTIONS = (("image → text", TEXT), ("text → image", IMAGE))


class History:
    """The epoch rows of one run; the curves are outside DVC's outs, because they have clock times.

    With `writes` False, for processes other than the first, rows are collected and nothing is printed or written. The
    first failure of a logger, a server that does not answer or a full disk, is a line on stderr; training goes on.
    """

    def __init__(self, name: str, rows: list[Row], logger: LoggerKind = "tensorboard", writes: bool = True) -> None:
        self.rows = rows
        self.console = Console(stderr=True, quiet=not writes)
        self._logger = logger
        self._curves: CurveLogger | None = None
        if writes:
            self._guarded(lambda: self._open(name))

    def add(self, row: Row, step: int) -> None:
        """Append the row of an epoch."""
        self.rows.append(row)
        self._log(lambda curves: curves.epoch({key: value for key, value in row.items() if key != "epoch"}, step))

    def print_epoch(self, note: str, best_epoch: int, column: str) -> None:
        """Print the last row; `note` is only printed, because rows must be reproducible.

        `best_epoch` is the epoch whose weights are saved, chosen by `column`; -1 if it was not finite in any epoch.
        """
        for line in epoch_lines(self.rows, note, best_epoch, column):
            self.console.print(line, highlight=False, soft_wrap=True)

    def step(self, step: int, values: Row) -> None:
        """Add the values of one optimizer step to the curves."""
        self._log(lambda curves: curves.step(values, step))

    def close(self) -> None:
        """Close the curves."""
        self._log(lambda curves: curves.close())

    def _open(self, name: str) -> None:
        self._curves = LOGGERS[self._logger](name, project_root() / "logs", len(self.rows))

    def _log(self, call: Callable[[CurveLogger], None]) -> None:
        if curves := self._curves:
            self._guarded(lambda: call(curves))

    def _guarded(self, call: Callable[[], None]) -> None:
        """Call a logger; the first failure is the last call, because each may wait minutes for its server."""
        try:
            call()
        except Exception as error:  # each library raises its own types
            self._curves = None
            message = one_line(error, LONGEST_MESSAGE)
            sys.stderr.write(f"runtime.logger = {self._logger}: {message}; this run has no more curves\n")


def epoch_lines(rows: list[Row], note: str, best_epoch: int, column: str) -> list[str]:
    """Return the lines on the last epoch, which end with the epoch whose weights are saved.

    Retrieval has a line of its own with the figures of both directions in percent, in the order of papers on caption
    retrieval, which call image-to-text retrieval "text" and text-to-image retrieval "image".
    """
    last = rows[-1]
    retrieval = all(name in last for name in (*TEXT, *IMAGE))
    omitted = {"epoch", *(TEXT + IMAGE if retrieval else ())}
    values = "  ".join(f"{key} {value:.4g}" for key, value in last.items() if key not in omitted)
    first = f"epoch {int(last['epoch'])}  {values}  {note}"
    name = _named(column) if retrieval else column
    if best_epoch < 0:
        best = f"|| no best epoch: {name} was not finite yet"
    else:
        row = rows[best_epoch]
        figures = _formatted(row) if retrieval else f"{row[column]:.4g}"
        best = f"|| best {best_epoch} by {name}{':' if retrieval else ''} {figures}"
    return [first, f"epoch {int(last['epoch'])} now {_formatted(last)} {best}"] if retrieval else [f"{first}  {best}"]


def _named(column: str) -> str:
    """Return the name of a column of the history, with its direction if it has one."""
    for title, names in DIRECTIONS:
        if column in names:
            return f"{title} {column.removeprefix('i2t_')}"
    return column


def _formatted(row: Row) -> str:
    directions = []
    for title, names in DIRECTIONS:
        values = " ".join(f"{100 * row[name]:.2f}" for name in names)
        directions.append(f"{title} R1 R5 R10 mR {values}")
    total = 100 * _total_mr(row)
    return f"{' | '.join(directions)} | total mR {total:.2f} sum {6 * total:.2f}"


def _total_mr(row: Row) -> float:
    return (row[TEXT[-1]] + row[IMAGE[-1]]) / 2


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows, which have the same keys, as CSV."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)

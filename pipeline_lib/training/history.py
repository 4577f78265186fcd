"""The history of a run: a row per epoch for history.csv, TensorBoard curves, and lines on the terminal."""

import csv
import math
import os
from pathlib import Path

from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

Row = dict[str, float]
# Columns of image-to-text and of text-to-image retrieval, the mean recall (mR) last.
TEXT = ("i2t_R@1", "i2t_R@5", "i2t_R@10", "i2t_MeanRecall")
IMAGE = ("R@1", "R@5", "R@10", "MeanRecall")


class History:
    """The epoch rows of one run; the TensorBoard log is outside DVC's outs, because it has clock times.

    With `writes` False, for processes other than the first, rows are collected and nothing is printed or written.
    """

    def __init__(self, name: str, rows: list[Row], writes: bool = True) -> None:
        self.rows = rows
        self.console = Console(stderr=True, quiet=not writes)
        root = Path(os.environ.get("DVC_ROOT", "."))
        folder = root / "logs" / "tensorboard" / name
        self._board = SummaryWriter(folder, purge_step=len(rows)) if writes else None

    def add(self, row: Row, step: int, note: str) -> None:
        """Append the row of an epoch and print it; `note` is only printed, because rows must be reproducible."""
        self.rows.append(row)
        if self._board:
            for key, value in row.items():
                if key != "epoch":
                    self._board.add_scalar(key, value, step)
            self._board.flush()
        line = best_so_far(self.rows)
        omitted = {"epoch", *(TEXT + IMAGE if line else ())}
        values = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key not in omitted)
        self.console.print(f"epoch {int(row['epoch'])}  {values}  {note}", highlight=False, soft_wrap=True)
        if line:
            self.console.print(line, highlight=False, soft_wrap=True)

    def step(self, step: int, values: Row) -> None:
        """Add the values of one optimizer step to the TensorBoard curves."""
        if self._board:
            for key, value in values.items():
                self._board.add_scalar(f"step/{key}", value, step)

    def close(self) -> None:
        """Close the TensorBoard log."""
        if self._board:
            self._board.close()


def best_so_far(rows: list[Row]) -> str:
    """Return one line with the retrieval metrics, in percent, of the last epoch and of the best one by total mR.

    As in papers on caption retrieval, `text` is image-to-text retrieval and `image` is text-to-image retrieval. Returns
    an empty line for a run without these metrics.
    """
    complete = [row for row in rows if all(name in row for name in (*TEXT, *IMAGE))]
    if not complete or complete[-1] is not rows[-1]:
        return ""
    best = max(complete, key=lambda row: _total_mr(row) if math.isfinite(_total_mr(row)) else -1.0)
    return f"epoch {int(rows[-1]['epoch'])} now {_formatted(rows[-1])} || best {int(best['epoch'])} {_formatted(best)}"


def _formatted(row: Row) -> str:
    directions = []
    for title, names in (("text", TEXT), ("image", IMAGE)):
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

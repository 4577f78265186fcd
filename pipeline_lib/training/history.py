"""What happened in each epoch: rows for history.csv, the same as TensorBoard curves, and a line on the terminal."""

import csv
import os
from pathlib import Path

from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

Row = dict[str, float]
# Columns of the two directions, mR last.
TEXT = ("i2t_R@1", "i2t_R@5", "i2t_R@10", "i2t_MeanRecall")
IMAGE = ("R@1", "R@5", "R@10", "MeanRecall")


class History:
    """Epoch rows of one run; the TensorBoard log lies outside DVC's outs, because it holds clock times.

    Without `shown`, rows are kept and nothing is written: a process that is not the first.
    """

    def __init__(self, name: str, rows: list[Row], shown: bool = True) -> None:
        self.rows = rows
        self.console = Console(stderr=True, quiet=not shown)
        root = Path(os.environ.get("DVC_ROOT", "."))
        folder = root / "logs" / "tensorboard" / name
        self._board = SummaryWriter(folder, purge_step=len(rows)) if shown else None

    def add(self, row: Row, step: int, remark: str) -> None:
        """Keep one epoch's figures and show them; the remark is only shown: rows stay repeatable."""
        self.rows.append(row)
        if self._board:
            for key, value in row.items():
                if key != "epoch":
                    self._board.add_scalar(key, value, step)
            self._board.flush()
        line = best_so_far(self.rows)
        told = {"epoch", *(TEXT + IMAGE if line else ())}
        shown = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key not in told)
        self.console.print(f"epoch {int(row['epoch'])}  {shown}  {remark}", highlight=False, soft_wrap=True)
        if line:
            self.console.print(line, highlight=False, soft_wrap=True)

    def step(self, step: int, values: Row) -> None:
        """Put figures of one optimizer step on the TensorBoard curves."""
        if self._board:
            for key, value in values.items():
                self._board.add_scalar(f"step/{key}", value, step)

    def close(self) -> None:
        """End the TensorBoard log."""
        if self._board:
            self._board.close()


def best_so_far(rows: list[Row]) -> str:
    """Return one line: the last epoch's retrieval figures in percent, and those of the best epoch by total mR.

    `text` finds texts for images, `image` images for texts, as reports of caption retrieval have it; empty for a run
    without such figures.
    """
    known = [row for row in rows if all(name in row for name in (*TEXT, *IMAGE))]
    if not known or known[-1] is not rows[-1]:
        return ""
    best = max(known, key=_total_mr)
    return f"epoch {int(rows[-1]['epoch'])} now {_written(rows[-1])} || best {int(best['epoch'])} {_written(best)}"


def _written(row: Row) -> str:
    ways = []
    for title, names in (("text", TEXT), ("image", IMAGE)):
        figures = " ".join(f"{100 * row[name]:.2f}" for name in names)
        ways.append(f"{title} R1 R5 R10 mR {figures}")
    total = 100 * _total_mr(row)
    return f"{' | '.join(ways)} | total mR {total:.2f} sum {6 * total:.2f}"


def _total_mr(row: Row) -> float:
    return (row[TEXT[-1]] + row[IMAGE[-1]]) / 2


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows of equal keys as CSV."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)

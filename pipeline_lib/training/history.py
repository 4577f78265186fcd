"""What happened in each epoch: rows for history.csv, the same as TensorBoard curves, and a line on the terminal."""

import csv
import os
from pathlib import Path

from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

Row = dict[str, float]


class History:
    """Epoch rows of one run; the TensorBoard log lies outside DVC's outs, because it holds clock times."""

    def __init__(self, name: str, rows: list[Row]) -> None:
        self.rows = rows
        self.console = Console(stderr=True)
        root = Path(os.environ.get("DVC_ROOT", "."))
        self._board = SummaryWriter(root / "logs" / "tensorboard" / name, purge_step=len(rows))

    def add(self, row: Row, step: int, remark: str) -> None:
        """Keep one epoch's figures and show them; the remark is only shown: rows stay repeatable."""
        self.rows.append(row)
        for key, value in row.items():
            if key != "epoch":
                self._board.add_scalar(key, value, step)
        self._board.flush()
        shown = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key != "epoch")
        self.console.print(f"epoch {int(row['epoch'])}  {shown}  {remark}", highlight=False, soft_wrap=True)

    def step(self, step: int, values: Row) -> None:
        """Put figures of one optimizer step on the TensorBoard curves."""
        for key, value in values.items():
            self._board.add_scalar(f"step/{key}", value, step)

    def close(self) -> None:
        """End the TensorBoard log."""
        self._board.close()


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows of equal keys as CSV."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)

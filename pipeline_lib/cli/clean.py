"""`vitrine clean`: removes checkpoints and unfinished stores of runs that nobody will resume."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline_lib.cli.output import AsJson, Result, show, table

if TYPE_CHECKING:
    from pipeline_lib.execution.checkpoint_runs import CheckpointRun

HEADINGS = ("folder", "outs", "run", "age", "MB")
DAYS = {"d": 1.0, "h": 1 / 24, "m": 1 / 1440}


def clean(
    older_than: Annotated[
        str, typer.Option("--older-than", help="Age of runs that DVC has not recorded: days, hours or minutes.")
    ] = "2d",
    as_json: AsJson = False,
) -> None:
    """Remove checkpoints in .ckpt: of runs that DVC has recorded, and of others not written for --older-than.

    The folder of a run that is going on is never touched. `--older-than 0d` removes all others.

    JSON: removed and remaining, with folder, outs, state, days since the last write and bytes; and the sums of bytes.
    """
    from pipeline_lib.execution.checkpoint_runs import checkpoint_base, checkpoint_runs, remove_runs

    limit, before = _days(older_than), checkpoint_runs()
    removed = remove_runs([run for run in before if run.state == "recorded" or run.age >= limit])
    folders = {run.folder for run in removed}
    remaining = [run for run in before if run.folder not in folders]
    sums = {"bytes_removed": sum(run.size for run in removed), "bytes_remaining": sum(run.size for run in remaining)}
    data = {"removed": _values(removed), "remaining": _values(remaining), **sums}
    notes = [
        f"{len(removed)} of {len(before)} folders removed, {_megabytes(sums['bytes_removed'])} MB; "
        f"{_megabytes(sums['bytes_remaining'])} MB remain in {checkpoint_base()}"
    ]
    rows = [("removed", *row) for row in _rows(removed)] + [("remains", *row) for row in _rows(remaining)]
    tables = [table(checkpoint_base().as_posix(), ("", *HEADINGS), rows, ("age", "MB"))] if rows else []
    show(Result(data, rows, tables, notes=notes), as_json)


def _days(text: str) -> float:
    """Return the days of an age such as 2d, 12h or 30m."""
    match = re.fullmatch(r"(\d+)([dhm])", text)
    if not match:
        raise ValueError(f"--older-than {text}: write a number of days, hours or minutes, such as 2d, 12h or 30m")
    return int(match[1]) * DAYS[match[2]]


def _values(runs: "Sequence[CheckpointRun]") -> list[dict[str, Any]]:
    return [
        {"folder": run.folder.as_posix(), "outs": run.out, "state": run.state, "days": run.age, "bytes": run.size}
        for run in runs
    ]


def _rows(runs: "Sequence[CheckpointRun]") -> list[tuple[str, ...]]:
    return [(run.folder.name, run.out, run.state, f"{run.age:.1f} d", _megabytes(run.size)) for run in runs]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}"

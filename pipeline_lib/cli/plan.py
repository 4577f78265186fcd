"""`vitrine plan`: what the next `dvc repro` will run, why, and how long it took before."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline_lib.cli.completion import complete_setting, complete_stage
from pipeline_lib.cli.output import AsJson, Result, show, table

if TYPE_CHECKING:
    from pipeline_lib.experiments.next_run.forecast import PlannedStage
    from pipeline_lib.experiments.next_run.status import Reason

HEADINGS = ("stage", "state", "why", "rows", "MB", "time", "estimated from")
MAX_VALUE = 40  # characters of a setting's value in a terminal


def plan(
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="Stages, with what they depend on; none = all.", autocompletion=complete_stage),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "-S",
            "--set-param",
            metavar="KEY=VALUE",
            help="Ask about a change as `dvc exp run` would make it; params.yaml stays as it is.",
            autocompletion=complete_setting,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what the next `dvc repro` will run, in its order, why, and what it will cost. Nothing is run or written.

    A stage runs if a setting, an input, its code or an out changed. A stage after it follows if the outs before it
    change. DVC restores outs that it has from an earlier run of the same inputs.

    Rows are the products, queries and photos of the present catalogue that a stage reads.

    In a pipe: stage, state, reasons, rows, bytes, seconds and their basis, one stage a line.

    JSON: rows (of the catalogue), unchanged (a count), stages (with stage, state, because, reasons, rows, bytes,
    seconds and basis), seconds (running stages), seconds_following, without_estimate (a count), and fault (the first
    one of params.yaml with the changes, beside the catalogue if that stays as it is; null if there is none).
    """
    from pipeline_lib.execution.durations import read_durations
    from pipeline_lib.experiments.next_run.faults import first_fault
    from pipeline_lib.experiments.next_run.forecast import forecast
    from pipeline_lib.experiments.next_run.rows import catalogue_rows
    from pipeline_lib.experiments.next_run.status import read_statuses

    statuses, params = read_statuses(targets or [], change or [])
    rows = catalogue_rows(Path())
    planned = forecast(statuses, read_durations(Path()), params, rows.get("products"))
    show(plan_result(planned, len(statuses), rows, first_fault(params, statuses, planned)), as_json)


def plan_result(
    planned: "list[PlannedStage]", visited: int, catalogue: Mapping[str, int], fault: str | None = None
) -> Result:
    """Return the next run as a table with its sums; `catalogue` are the counts of `catalogue_rows`."""
    from pipeline_lib.execution.meter import format_seconds
    from pipeline_lib.experiments.next_run.forecast import FOLLOWS, RESTORED, RUNS, total_seconds

    seconds, unknown = total_seconds(planned, RUNS)
    following, unknown_following = total_seconds(planned, FOLLOWS)
    counts = {state: sum(stage.state == state for stage in planned) for state in (RUNS, RESTORED, FOLLOWS)}
    rows = [_cells(stage, catalogue) for stage in planned]
    texts = [_texts(stage, catalogue) for stage in planned]
    without = f" ({unknown + unknown_following} stages without an earlier run)" * bool(unknown + unknown_following)
    about = f"about {format_seconds(seconds)}, up to {format_seconds(seconds + following)} one after the other, as they"
    about = f"{about} took before{without}" if seconds + following else "no earlier run tells how long"
    notes = [
        f"{counts[RUNS]} of {visited} stages run, {counts[FOLLOWS]} follow if outs before them change, "
        f"{counts[RESTORED]} are restored; {about}"
    ]
    if not planned:
        notes = [f"nothing to run: all {visited} stages are up to date"]
    if fault:
        notes.append(f"{'the run would stop' if planned else 'a run that does something would stop'}: {fault}")
    data = {
        "rows": catalogue,
        "unchanged": visited - len(planned),
        "stages": [_record(stage, catalogue) for stage in planned],
        "seconds": seconds,
        "seconds_following": following,
        "without_estimate": unknown + unknown_following,
        "fault": fault,
    }
    head = [f"catalogue of now: {', '.join(_named(catalogue))}"] if catalogue else []
    drawn = [table("The next `dvc repro`", HEADINGS, texts, right=("rows", "MB", "time"))] if planned else []
    return Result(data, rows, drawn, head=head, notes=notes)


def reason_line(reason: "Reason") -> str:
    """Return one reason as text, a setting with its old and new value."""
    from pipeline_lib.experiments.recipes.overrides import ABSENT

    if not reason.is_setting:
        return reason.what
    old, new = (value if value is ABSENT else _short(value) for value in (reason.old, reason.new))
    return f"{reason.what}: {old} -> {new}"


def _short(value: Any) -> str:
    from pipeline_lib.experiments.recipes.overrides import as_value

    text = "null" if value is None else value if isinstance(value, str) else as_value(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 3]}..."


def _why(stage: "PlannedStage") -> list[str]:
    lines = [reason_line(reason) for reason in stage.status.reasons]
    return lines or [f"because {', '.join(stage.because)} {'runs' if len(stage.because) == 1 else 'run'}"]


def _named(rows: Mapping[str, int]) -> list[str]:
    return [f"{number:,} {name}" for name, number in rows.items()]


def _texts(stage: "PlannedStage", catalogue: Mapping[str, int]) -> tuple[str, ...]:
    from pipeline_lib.execution.meter import format_seconds

    size = "-" if stage.size is None else f"{'' if stage.size_is_own else '~'}{stage.size / 1e6:.1f}"
    seconds, basis = (
        (format_seconds(stage.estimate.seconds), stage.estimate.basis) if stage.estimate else ("-", "no earlier run")
    )
    rows = "\n".join(_named(_record(stage, catalogue)["rows"])) or "-"
    return stage.status.name, stage.state, "\n".join(_why(stage)), rows, size, seconds, basis


def _cells(stage: "PlannedStage", catalogue: Mapping[str, int]) -> tuple[str, ...]:
    record = _record(stage, catalogue)
    values = (record[key] for key in ("bytes", "seconds", "basis"))
    return (
        stage.status.name,
        stage.state,
        "; ".join(_why(stage)),
        ", ".join(_named(record["rows"])),
        *("" if value is None else str(value) for value in values),
    )


def _record(stage: "PlannedStage", catalogue: Mapping[str, int]) -> dict[str, Any]:
    from pipeline_lib.experiments.next_run.rows import rows_read
    from pipeline_lib.experiments.recipes.overrides import ABSENT

    reasons = [
        {"setting": reason.what}
        | {name: value for name, value in (("old", reason.old), ("new", reason.new)) if value is not ABSENT}
        if reason.is_setting
        else {"what": reason.what}
        for reason in stage.status.reasons
    ]
    return {
        "stage": stage.status.name,
        "state": stage.state,
        "because": list(stage.because),
        "reasons": reasons,
        "rows": rows_read(stage.status.reads, catalogue),
        "bytes": stage.size,
        "seconds": round(stage.estimate.seconds, 2) if stage.estimate else None,
        "basis": stage.estimate.basis if stage.estimate else None,
    }

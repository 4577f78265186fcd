"""`vitrine doctor`: what is wrong with the machine, the project and what killed runs left, and what to do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline_lib.cli.output import AsJson, Result, show, table

if TYPE_CHECKING:
    from pipeline_lib.experiments.doctor.checks import Named

HEADINGS = ("level", "check", "what", "what to do")


def doctor(as_json: AsJson = False) -> None:
    """Check versions, machine, params, weights, DVC's state and the disk; exit status 1 if there is a problem.

    Nothing is run or changed. A note is worth reading and stops nothing.

    In a pipe: level (ok, note or problem), check, what it found and what to do, one finding a line.

    JSON: findings (with level, check, message and action) and problems (a count).
    """
    from pathlib import Path

    from pipeline_lib.experiments.doctor.checks import run_checks
    from pipeline_lib.experiments.doctor.finding import PROBLEM

    found = run_checks(Path())
    show(doctor_result(found), as_json)
    if any(one.finding.level == PROBLEM for one in found):
        raise SystemExit(1)


def doctor_result(found: "Sequence[Named]") -> Result:
    """Return the findings as a table, problems counted."""
    from pipeline_lib.experiments.doctor.finding import NOTE, PROBLEM

    rows = [(one.finding.level, one.check, one.finding.message, one.finding.action) for one in found]
    problems, notes = (sum(row[0] == level for row in rows) for level in (PROBLEM, NOTE))
    findings = [dict(zip(("level", "check", "message", "action"), row, strict=True)) for row in rows]
    line = f"{problems} problem{'s' * (problems != 1)}, {notes} note{'s' * (notes != 1)}"
    return Result(
        {"findings": findings, "problems": problems}, rows, [table("Checks", HEADINGS, rows)], notes=[line]
    )  # fmt: skip

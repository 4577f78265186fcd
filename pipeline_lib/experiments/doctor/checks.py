"""All checks of `vitrine doctor`, in the order in which they are printed, and the run of them."""

from pathlib import Path
from typing import Any, NamedTuple

from pipeline_lib.experiments.doctor.disk import judge_disk, read_disk
from pipeline_lib.experiments.doctor.dvc_state import (
    judge_cache,
    judge_leftovers,
    judge_lock_files,
    judge_lost,
    read_cache,
    read_leftovers,
    read_lock_files,
    read_lost,
)
from pipeline_lib.experiments.doctor.finding import NOTE, PROBLEM, Check, Finding, Params
from pipeline_lib.experiments.doctor.machine import (
    judge_cores,
    judge_gpu,
    judge_memory,
    read_cores,
    read_gpu,
    read_memory,
)
from pipeline_lib.experiments.doctor.project import judge_params, judge_weights, read_params_facts, read_weights
from pipeline_lib.experiments.doctor.versions import judge_versions, read_versions
from pipeline_lib.params.section import load_params

CHECKS: tuple[Check[Any], ...] = (
    Check("versions", read_versions, judge_versions),
    Check("params", read_params_facts, judge_params),
    Check("weights", read_weights, judge_weights, needs_params=True),
    Check("cores", read_cores, judge_cores, needs_params=True),
    Check("memory", read_memory, judge_memory),
    Check("gpu", read_gpu, judge_gpu, needs_params=True),
    Check("dvc files", read_lock_files, judge_lock_files),
    Check("lost entries", read_lost, judge_lost),
    Check("killed runs", read_leftovers, judge_leftovers),
    Check("cache", read_cache, judge_cache),
    Check("disk", read_disk, judge_disk, needs_params=True),
)


class Named(NamedTuple):
    """A finding with the name of its check."""

    check: str
    finding: Finding


def run_checks(root: Path) -> list[Named]:
    """Return the findings of all checks; one that cannot read what it needs is a finding itself."""
    params: Params | None
    try:
        params = load_params(root / "params.yaml")
    except (ValueError, OSError):  # the check of params has the reason
        params = None
    findings: list[Named] = []
    for check in CHECKS:
        found = _run(check, root, params)
        findings += [Named(check.name, finding) for finding in found]
        if check.name == "params" and any(finding.level == PROBLEM for finding in found):
            params = None  # a key may be missing, or a value be of another type
    return findings


def _run(check: Check[Any], root: Path, params: Params | None) -> list[Finding]:
    if check.needs_params and params is None:
        return [Finding(NOTE, "not checked before params.yaml is mended")]
    try:
        return check.judge(check.read(root, params or {}))
    except (ValueError, OSError) as error:
        return [Finding(PROBLEM, " ".join(str(error).split()), "mend this, then run vitrine doctor again")]

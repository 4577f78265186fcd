"""For what fault of params.yaml the next run would stop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.experiments.next_run.forecast import PlannedStage
from pipeline_lib.experiments.next_run.status import StageStatus
from pipeline_lib.params import all_sections
from pipeline_lib.params.requirements import check_catalogue

CATALOGUE_STAGE = "catalogue"
COUNTS = paths.CATALOGUE / "counts.json"


def first_fault(params: dict[str, Any], statuses: Sequence[StageStatus], planned: Sequence[PlannedStage]) -> str | None:
    """Return the first fault of params, None without one.

    They are compared with what the catalogue has counted if the run visits its stage and leaves it as it is.
    """
    visited = any(one.name == CATALOGUE_STAGE for one in statuses)
    changes = any(one.status.name == CATALOGUE_STAGE for one in planned)
    file = Path("params.yaml")
    try:
        all_sections.check_project(params, file)
        if visited and not changes and COUNTS.is_file():
            check_catalogue(params, read_object(COUNTS, classes=int, queries=int), file)
    except ValueError as error:
        return str(error)
    return None

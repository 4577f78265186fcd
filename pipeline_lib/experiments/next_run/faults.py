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

CATALOGUE_STAGE, FOLDS_STAGE = "catalogue", "folds"
COUNTS = paths.CATALOGUE / "counts.json"


def first_fault(params: dict[str, Any], statuses: Sequence[StageStatus], planned: Sequence[PlannedStage]) -> str | None:
    """Return the first fault of params, None without one.

    They are compared with what the catalogue has counted, and the models and predictions that they name with the
    folds, if the run visits the stage and leaves it as it is.
    """
    changed = {one.status.name for one in planned}
    unchanged = {one.name for one in statuses} - changed
    file = Path("params.yaml")
    try:
        all_sections.check_project(params, file)
        if CATALOGUE_STAGE in unchanged and COUNTS.is_file():
            check_catalogue(params, read_object(COUNTS, classes=int, queries=int), file)
        if FOLDS_STAGE in unchanged and (paths.FOLDS / "folds.parquet").is_file():
            from pipeline_lib.splitting.planned_models import refused  # polars takes a moment

            return next(iter(refused(params)), None)
    except ValueError as error:
        return str(error)
    return None

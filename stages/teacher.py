"""Runs the teacher in data/starts/NAME over every photo and text, and stores what it gives.

Runs in several processes if VITRINE_LAUNCH has a launcher, e.g. `torchrun --nproc-per-node 2`.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.artifacts import paths
from pipeline_lib.execution.device import read_runtime
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.launch import in_processes
from pipeline_lib.execution.stage import Stage, stage

if TYPE_CHECKING:
    from pipeline_lib.features.inputs import ExtractionRun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    name = parser.parse_args().name
    with stage("stages.teacher") as run:
        in_processes(run, lambda: teacher(run, name))


def teacher(run: Stage, name: str) -> None:
    # Slow imports, which a process that only launches others does not need.
    from pipeline_lib.features.extract import Extraction, run_extraction
    from pipeline_lib.features.inputs import extraction_tables, read_extraction_inputs
    from pipeline_lib.features.teachers import extract_teachers
    from pipeline_lib.params.features import StoredDtype, planned_max_gb
    from pipeline_lib.params.values import Precision

    def write(out: Path, extraction: "ExtractionRun") -> None:
        inputs = read_extraction_inputs(paths.CATALOGUE, paths.SHARDS, read_runtime().shards_url)
        extract_teachers(paths.STARTS / name, inputs, out, extraction, words_max_gb)

    weights = Path(run.value("model.weights_root", str))
    files = (*extraction_tables(paths.CATALOGUE), paths.SHARDS, weights, paths.STARTS / name)
    dtype: StoredDtype = run.value("features.dtype", StoredDtype)
    precision: Precision = run.value("features.precision", Precision)
    words_max_gb = planned_max_gb() if run.value("features.teacher_words", bool) else None
    run_extraction(run, Extraction(f"features of {name}", paths.features_of(name), dtype, precision, files), write)


if __name__ == "__main__":
    run_stage("stages.teacher", main)

"""A stage that runs frozen encoders over a whole catalogue and stores what they give; it resumes after a killed run.

The stores are written outside DVC's outs, because DVC removes the outs before a stage runs. Then hard links put them
into the outs: nothing is written twice, and the outs stay when the run's folder is removed.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.artifacts.io import fresh_folder, writing
from pipeline_lib.execution.checkpoint import CheckpointFolder
from pipeline_lib.execution.device import inference_batch, pick_device, read_runtime, supports_bf16
from pipeline_lib.execution.meter import metered
from pipeline_lib.execution.process_group import join_process_group
from pipeline_lib.execution.stage import Stage
from pipeline_lib.features.inputs import ExtractionRun
from pipeline_lib.inference.engine import InferenceEngine

# Folders of a run: stores that are still written, and complete stores.
PARTIAL, COMPLETE = "partial", "stores"


@dataclass(frozen=True)
class Extraction:
    """What an extraction is called, the folder of its outs, and the number format and precision of its stores.

    `files` are the files and folders that it reads.
    """

    title: str
    out: Path
    dtype: str
    precision: str
    files: tuple[Path, ...]


Write = Callable[[Path, ExtractionRun], None]


def run_extraction(stage: Stage, extraction: Extraction, write: Write) -> None:
    """Write the outs of a stage: the files that write(folder, run) puts into a folder, once they are complete.

    In a process group every rank must call this; rank 0 writes.
    """
    runtime = read_runtime()
    device = pick_device(runtime.device)
    with (
        join_process_group(device) as processes,
        metered(extraction.title, is_first=processes.is_first) as meter,
    ):
        identity = {"title": extraction.title, "bf16": supports_bf16(device)}
        fingerprint = processes.broadcast_from_first(lambda: stage.fingerprint(*extraction.files, **identity))
        batch_size = inference_batch(runtime.batch_size, device)
        engine = InferenceEngine(device, batch_size, runtime.workers, extraction.precision, processes, meter)
        with CheckpointFolder(fingerprint, processes.is_first, extraction.out) as checkpoints:
            run = ExtractionRun(engine, extraction.dtype, checkpoints.folder, meter.announce)
            stores = _complete_stores(run, write)
            if not processes.is_first:
                return
            with fresh_folder(extraction.out) as out:
                link_files(stores, out)
            checkpoints.finish()
        meter.finish(f" -> {extraction.out}")


def _complete_stores(run: ExtractionRun, write: Write) -> Path:
    """Return the folder of complete stores in the folder `run.progress`, resuming what a killed run left there."""
    assert run.progress is not None
    complete, partial, processes = run.progress / COMPLETE, run.progress / PARTIAL, run.engine.processes
    if processes.broadcast_from_first(complete.is_dir):
        return complete
    if processes.is_first:
        partial.mkdir(exist_ok=True)
    write(partial, run)
    if processes.is_first:
        partial.rename(complete)
    return complete


def link_files(source: Path, out: Path) -> None:
    """Hard-link the files of a folder into another one; copy a file that cannot be linked."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        target = out / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:  # another filesystem, or one without hard links
            with writing(target):
                shutil.copyfile(path, target)

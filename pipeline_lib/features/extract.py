"""Extraction of one frozen encoder's stores for a whole catalogue, which resumes after a killed run.

The stores are written outside DVC's outs, because DVC removes the outs before a stage runs. Then hard links put them
into the outs: nothing is written twice, and the outs stay when the run's folder is removed.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json, writing
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.teacher_models import teacher_models
from pipeline_lib.features.teachers import extract_teacher
from pipeline_lib.features.trunk import TrunkOptions, extract_trunk
from pipeline_lib.models.joint_space import why_apart
from pipeline_lib.models.scales import check_scales
from pipeline_lib.models.tower_kinds import encoder_names, resolve_towers
from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.plan import TRUNK
from pipeline_lib.stores.drawn_views import views_to_draw

# Folders of a run: stores that are still written, and complete stores.
PARTIAL, COMPLETE = "partial", "stores"


def extract(
    name: str,
    inputs: ExtractionInputs,
    params: FeaturesParams,
    model: ModelParams,
    run: ExtractionRun,
    scales: Sequence[int],
) -> Path:
    """Return the folder of complete stores in the folder `run.progress`, resuming what a killed run left there.

    `name` is trunk or a teacher. ValueError if the trunk does not support the `scales` at which a model of it is to
    predict. In a process group every rank must call this; rank 0 writes.
    """
    assert run.progress is not None
    complete, partial, processes = run.progress / COMPLETE, run.progress / PARTIAL, run.engine.processes
    if processes.broadcast_from_first(complete.is_dir):
        return complete
    if processes.is_first:
        partial.mkdir(exist_ok=True)
    if name == TRUNK:
        sources = resolve_towers(model)
        check_scales(sources["image"].description, scales)
        run.describe(inputs, encoder_names(*(sources[tower].description for tower in ("image", "text"))))
        extract_trunk(sources, inputs, partial, run, _trunk_options(params))
        if processes.is_first:
            write_json(partial / "joint.json", {"why_apart": why_apart(sources)})
    else:
        for number, teacher in enumerate(teacher_models(paths.STARTS / name)):
            if not number:
                description = teacher.model.description
                run.describe(inputs, encoder_names(description["image"], description["text"]))
            extract_teacher(teacher, inputs, partial / teacher.fold, run)
    if processes.is_first:
        partial.rename(complete)
    return complete


def _trunk_options(params: FeaturesParams) -> TrunkOptions:
    trunk = params.trunk
    return TrunkOptions(
        layers=trunk.layers if trunk.at == "boundary" else 0,
        max_gb=params.max_gb,
        drawn=views_to_draw(trunk.augment, trunk.crop_scale, trunk.views, trunk.view_seed),
    )


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

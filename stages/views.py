"""Stores the views of prediction at one image size as the image tower's frozen layers give them.

Only with embed.stored_views; otherwise it writes a marker. Runs in several processes if VITRINE_LAUNCH has a
launcher, e.g. `torchrun --nproc-per-node 2`.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.device import read_runtime
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.launch import in_processes
from pipeline_lib.execution.stage import Stage, stage

NOTHING = "none"  # marker of a folder without stores, which DVC would not keep empty

if TYPE_CHECKING:
    from pipeline_lib.features.inputs import ExtractionRun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, required=True)
    scale = parser.parse_args().scale
    with stage("stages.views") as run:
        if not run.value("embed.stored_views", bool):
            with fresh_folder(paths.views_of(scale)) as out:
                (out / NOTHING).touch()
            print(f"views of prediction at {scale} px: none stored, because embed.stored_views is false")
        else:
            in_processes(run, lambda: views(run, scale))


def views(run: Stage, scale: int) -> None:
    # Slow imports, which a process that only launches others, or writes a marker, does not need.
    from pipeline_lib.features.extract import Extraction, run_extraction
    from pipeline_lib.features.photos import ViewOptions, extract_views
    from pipeline_lib.params.features import StoredDtype, TrunkKind, planned_max_gb
    from pipeline_lib.params.model import FusionKind, ImageTowerParams, UntrainedImage
    from pipeline_lib.params.plan import TRUNK
    from pipeline_lib.params.values import Positive, Precision
    from pipeline_lib.shards.read import open_shards
    from pipeline_lib.towers.kinds import resolve_image_tower, untrained_image_tower
    from pipeline_lib.towers.scales import check_scales

    image = run.value("model.image", ImageTowerParams)
    params = UntrainedImage(image, run.value("model.fusion", FusionKind))
    # The stage `features` stores the plain view at the size of training.
    stored = scale == image.size and TRUNK in run.value("plan.features", list[str])
    mirrored = (False,) * (not stored) + (True,) * run.value("embed.flip", bool)
    layers = run.value("features.trunk.layers", Positive)
    layers = layers if run.value("features.trunk.at", TrunkKind) == "boundary" else 0
    options = ViewOptions(scale, mirrored, layers, planned_max_gb())

    def write(out: Path, extraction: "ExtractionRun") -> None:
        if not mirrored:
            (out / NOTHING).touch()
            return
        source = resolve_image_tower(params)
        check_scales(source.description, [scale])
        tower, reader = untrained_image_tower(source, extraction.engine.device), open_shards(paths.SHARDS, url)
        extract_views(tower, source, reader, out, extraction, options)

    url, weights = read_runtime().shards_url, Path(run.value("model.weights_root", str))
    dtype: StoredDtype = run.value("features.dtype", StoredDtype)
    precision: Precision = run.value("features.precision", Precision)
    title = f"views of prediction at {scale} px"
    run_extraction(run, Extraction(title, paths.views_of(scale), dtype, precision, (paths.SHARDS, weights)), write)


if __name__ == "__main__":
    run_stage("stages.views", main)

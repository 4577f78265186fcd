"""Runs the towers of `model`, with their weights before training, over every photo and text, and stores what they give.

Runs in several processes if VITRINE_LAUNCH has a launcher, e.g. `torchrun --nproc-per-node 2`.
"""

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
    with stage("stages.features") as run:
        in_processes(run, lambda: features(run))


def features(run: Stage) -> None:
    # Slow imports, which a process that only launches others does not need.
    from pipeline_lib.features.extract import Extraction, run_extraction
    from pipeline_lib.features.inputs import extraction_tables, read_extraction_inputs
    from pipeline_lib.features.trunk import TrunkOptions, extract_trunk
    from pipeline_lib.params.features import StoredDtype, TrunkParams, planned_max_gb
    from pipeline_lib.params.model import FusionKind, ImageTowerParams, TextTowerParams, UntrainedImage, UntrainedText
    from pipeline_lib.params.plan import TRUNK, planned_scales
    from pipeline_lib.params.values import Precision
    from pipeline_lib.towers.kinds import encoder_names, resolve_image_tower, resolve_text_tower
    from pipeline_lib.towers.scales import check_scales

    fusion: FusionKind = run.value("model.fusion", FusionKind)
    image = UntrainedImage(run.value("model.image", ImageTowerParams), fusion)
    text = UntrainedText(run.value("model.text", TextTowerParams), fusion)
    options = TrunkOptions.of(run.value("features.trunk", TrunkParams), planned_max_gb())

    def write(out: Path, extraction: "ExtractionRun") -> None:
        inputs = read_extraction_inputs(paths.CATALOGUE, paths.SHARDS, read_runtime().shards_url)
        sources = {"image": resolve_image_tower(image), "text": resolve_text_tower(text)}
        check_scales(sources["image"].description, planned_scales())
        extraction.describe(inputs, encoder_names(*(sources[tower].description for tower in ("image", "text"))))
        extract_trunk(sources, inputs, out, extraction, options)

    files = (*extraction_tables(paths.CATALOGUE), paths.SHARDS, Path(run.value("model.weights_root", str)))
    dtype: StoredDtype = run.value("features.dtype", StoredDtype)
    precision: Precision = run.value("features.precision", Precision)
    run_extraction(run, Extraction("features of trunk", paths.features_of(TRUNK), dtype, precision, files), write)


if __name__ == "__main__":
    run_stage("stages.features", main)

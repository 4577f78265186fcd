"""Trains one model for composed queries on the stored outputs of frozen towers, and embeds its held-out fold and test.

python -m stages.compose --kind sum --fold 0
"""

import argparse
from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.device import pick_device, read_runtime, supports_bf16
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.stage import Stage, stage
from pipeline_lib.params.composed import COMPOSED_KINDS, ComposedKind, ComposedParams
from pipeline_lib.params.model import FusionKind, ImageTowerParams, TextTowerParams, UntrainedImage, UntrainedText
from pipeline_lib.params.plan import TRUNK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, choices=COMPOSED_KINDS)
    parser.add_argument("--fold", type=int, required=True)
    arguments = parser.parse_args()
    with stage("stages.compose") as run:
        compose(run, arguments.kind, arguments.fold)


def compose(run: Stage, kind: ComposedKind, fold: int) -> None:
    # Slow imports, which a process that only forks others does not need.
    from pipeline_lib.towers.kinds import resolve_image_tower, resolve_text_tower
    from pipeline_lib.training.composed.fold import ComposedConfig, ComposedFolders, train_composed
    from pipeline_lib.training.composed.triplets import composed_tables

    params, runtime = run.section(ComposedParams), read_runtime()
    fusion: FusionKind = run.value("model.fusion", FusionKind)
    image = UntrainedImage(run.value("model.image", ImageTowerParams), fusion)
    text = UntrainedText(run.value("model.text", TextTowerParams), fusion)
    weights = Path(run.value("model.weights_root", str))
    # The towers do not run, so their weights are only hashed.
    sources = {"image": resolve_image_tower(image).identity(), "text": resolve_text_tower(text).identity()}
    device, out, trunk = pick_device(runtime.device), paths.composed_of(kind, fold), paths.features_of(TRUNK)
    config = ComposedConfig(kind, params, sources, device, runtime.log_every, runtime.features_url, runtime.logger)
    identity = {"kind": kind, "fold": fold, "bf16": supports_bf16(device)}
    files = [*composed_tables(paths.CATALOGUE, paths.FOLDS), trunk, weights]
    fingerprint = run.fingerprint(*files, **identity)
    with fresh_folder(out) as folder:
        train_composed(config, ComposedFolders(paths.CATALOGUE, paths.FOLDS, trunk), fold, fingerprint, folder)


if __name__ == "__main__":
    run_stage("stages.compose", main)

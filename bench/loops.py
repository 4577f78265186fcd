"""The two training loops, ours and open_clip's own entry point, each in a process of its own and timed by its log.

Ours is `train_fold`, as the train stage calls it, with the features stage's extraction before it where towers are
frozen; `python bench/loops.py PROJECT` is the process. The peer is `python -m open_clip_train.main` on a CSV, one of
the two forms its README has: the other fails here (open_clip_train 3.3.0 with webdataset 1.0: KeyError 'fname').
"""

import pipeline_lib.execution.threads  # noqa: F401, I001  (before torch, as in stages/train.py)
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from inputs import FOLDER_CONFIG, caption
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.training.fold_data import Inputs

BATCH = 64
STEP = re.compile(r"Train Epoch: (\d+) .*Batch \(t\): ([\d.]+)")


def write_csv(inputs: Inputs, count: int, out: Path) -> Path:
    """Write the first `count` photos as files, byte for byte those of our shards, and a table with captions."""
    out.mkdir()
    reader = ShardReader(Manifest(inputs.shards))
    for row in range(count):
        (out / f"{row:06d}.jpg").write_bytes(reader.read(row))
    table = pl.DataFrame({
        "filepath": [str(out / f"{row:06d}.jpg") for row in range(count)],
        "title": [caption(row) for row in range(count)],
    })  # fmt: skip
    table.write_csv(out / "train.csv", separator="\t")
    return out / "train.csv"


def peer_epochs(
    clip: Path, table: Path, count: int, epochs: int, workers: int, precision: str, locked: bool,
    teacher: Path | None = None,
) -> list[float]:  # fmt: skip
    """Run open_clip's own loop; return the seconds of each epoch's steps.

    They are the mean of all steps but the first, times the steps: the start of its workers, which it makes anew each
    epoch, its own start-up and its checkpoints are left out.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as logs:
        command = [
            sys.executable, "-m", "open_clip_train.main", "--model", f"local-dir:{clip}", "--device", "cpu",
            "--train-data", str(table), "--dataset-type", "csv",
            "--batch-size", str(BATCH), "--epochs", str(epochs), "--workers", str(workers), "--precision", precision,
            "--lr", "1e-4", "--wd", "0.05", "--beta1", "0.9", "--beta2", "0.98", "--eps", "1e-6", "--warmup", "2",
            "--log-every-n-steps", "1000000", "--logs", logs, "--name", "peer",
            *(("--lock-image", "--lock-text", "--lock-text-freeze-layer-norm") if locked else ()),
            *(("--distill-model", f"local-dir:{teacher}", "--distill-pretrained", "its own") if teacher else ()),
        ]  # fmt: skip
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"open_clip_train ended with {run.returncode}:\n{(run.stdout + run.stderr)[-2000:]}")
    steps = count // BATCH
    seen: dict[int, list[float]] = {}
    for epoch, seconds in STEP.findall(run.stdout + run.stderr):
        seen.setdefault(int(epoch), []).append(float(seconds))
    # One line for the first step of an epoch, one with the mean over the others.
    found = [steps * mean for _, mean in (lines[:2] for lines in seen.values())]
    assert len(found) == epochs, (len(found), epochs)
    return found


def own(project: Path, epochs: int, workers: int, precision: str, frozen: bool = False, **more: object) -> dict:
    """Train a fold in a process of its own; return `epochs` (images/s of each) and `seconds` of the whole call."""
    asked = {"epochs": epochs, "workers": workers, "precision": precision, "frozen": frozen, **more}
    command = [sys.executable, str(Path(__file__).resolve()), str(project), json.dumps(asked)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    if run.returncode:
        raise SystemExit(f"training ended with {run.returncode}:\n{(run.stdout + run.stderr)[-2000:]}")
    told = json.loads(run.stdout.splitlines()[-1])
    return {**told, "epochs": [float(speed) for speed in re.findall(r"([\d.]+) images/s", run.stderr)]}


def main() -> None:
    from inputs import params_of

    from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun, read_extraction_inputs
    from pipeline_lib.features.teacher_models import teacher_models
    from pipeline_lib.features.teachers import extract_teacher
    from pipeline_lib.features.trunk import extract_trunk
    from pipeline_lib.inference.engine import InferenceEngine
    from pipeline_lib.models.tower_kinds import resolve_towers
    from pipeline_lib.params.losses import LossesParams
    from pipeline_lib.params.model import ModelParams
    from pipeline_lib.params.runtime import RuntimeParams
    from pipeline_lib.params.section import parse_section
    from pipeline_lib.params.train import TrainParams
    from pipeline_lib.training.fold import train_fold
    from pipeline_lib.training.model_setup import RunConfig

    project, asked = Path(sys.argv[1]).resolve(), json.loads(sys.argv[2])
    inputs = Inputs(project / "catalogue", project / "folds", project / "shards", project / asked.get("trunk", "none"))
    if asked.get("taught"):
        inputs.teachers["big"] = project / "teacher"
    config = json.loads((project / "clip" / FOLDER_CONFIG).read_text())["model_cfg"]
    params = params_of(project / "clip", config["vision_cfg"]["image_size"], config["text_cfg"]["context_length"])
    params["train"] |= {"epochs": asked["epochs"], "precision": asked["precision"], **asked.get("train", {})}
    params["runtime"] |= {"workers": asked["workers"], "device": "cpu", "log_every": 1000}
    if asked["frozen"]:
        params["train"] |= {"unfreeze_layers": 0, "augment": "none", "head_lr": asked.get("head_lr", 1e-3)}
        params["model"]["projector"] |= {"image": "linear", "text": "linear"}
    params["losses"]["contrastive_distillation"]["weight"] = float(bool(inputs.teachers))
    settings = RunConfig(
        model=parse_section(ModelParams, params), losses=parse_section(LossesParams, params),
        train=parse_section(TrainParams, params), seed=7, runtime=parse_section(RuntimeParams, params),
        device="cpu", precision=asked["precision"],
    )  # fmt: skip
    begun = time.perf_counter()
    if asked["frozen"] and not inputs.trunk.is_dir():
        photos = pl.read_parquet(inputs.shards / "manifest.parquet", columns=["product_id", "photo"])
        texts = pl.read_parquet(inputs.catalogue / "products.parquet")["text"].to_list()
        engine = InferenceEngine("cpu", 256, asked["workers"], "fp32")
        extracted = ExtractionInputs(ShardReader(Manifest(inputs.shards)), photos, texts)
        extract_trunk(resolve_towers(settings.model), extracted, inputs.trunk, ExtractionRun(engine, "float16"))
    for name, store in inputs.teachers.items():
        if not store.is_dir():
            extracted = read_extraction_inputs(inputs.catalogue, inputs.shards, None)
            engine = InferenceEngine("cpu", 256, asked["workers"], "fp32")
            for teacher in teacher_models(project / "starts" / name):
                extract_teacher(teacher, extracted, store, ExtractionRun(engine, "float16"))
    extracted = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DVC_ROOT"] = folder  # checkpoints and curves are of no use here
        (Path(folder) / "out").mkdir()
        train_fold(settings, inputs, 0, "bench", Path(folder) / "out")
    print(json.dumps({"seconds": time.perf_counter() - begun, "extraction": extracted - begun}))


if __name__ == "__main__":
    main()

"""Two training loops to compare, ours and open_clip's own entry point, each in its own process and timed by its log.

Ours is `train_fold`, called as the train stage does, after the extraction of features if the towers are frozen.
`python bench/loops.py PROJECT OPTIONS` is that process. The peer is `python -m open_clip_train.main` with a CSV file;
with webdataset it fails (open_clip_train 3.3.0, webdataset 1.0: KeyError 'fname').
"""

import pipeline_lib.execution.threads  # noqa: F401, I001  (before torch, as in stages/train.py)
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from inputs import FOLDER_CONFIG, caption
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.training.fold_data import Inputs

BATCH = 64
STEP = re.compile(r"Train Epoch: (\d+) .*Batch \(t\): ([\d.]+)")


def write_csv(inputs: Inputs, count: int, out: Path) -> Path:
    """Write the first `count` photos as files with the bytes of our shards, and a table of them with captions."""
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


@dataclass(frozen=True)
class Peer:
    """open_clip's training loop over a table of `count` products, with frozen towers or a teacher if given."""

    clip: Path
    table: Path
    count: int
    locked: bool = False
    teacher: Path | None = None

    def seconds(self, epochs: int, workers: int, precision: str) -> list[float]:
        """Train, and return the seconds of each epoch's steps.

        They are the mean over all steps but the first, times the number of steps. Start-up, the start of the workers in
        every epoch, and checkpoints are not counted.
        """
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        with tempfile.TemporaryDirectory() as logs:
            command = [
                sys.executable, "-m", "open_clip_train.main", "--model", f"local-dir:{self.clip}", "--device", "cpu",
                "--train-data", str(self.table), "--dataset-type", "csv",
                "--batch-size", str(BATCH), "--epochs", str(epochs), "--workers", str(workers),
                "--precision", precision, "--lr", "1e-4", "--wd", "0.05", "--beta1", "0.9", "--beta2", "0.98",
                "--eps", "1e-6", "--warmup", "2",
                "--log-every-n-steps", "1000000", "--logs", logs, "--name", "peer",
                *(("--lock-image", "--lock-text", "--lock-text-freeze-layer-norm") if self.locked else ()),
                *(("--distill-model", f"local-dir:{self.teacher}", "--distill-pretrained", "its own")
                  if self.teacher else ()),
            ]  # fmt: skip
            run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            raise SystemExit(f"open_clip_train ended with {run.returncode}:\n{(run.stdout + run.stderr)[-2000:]}")
        steps = self.count // BATCH
        logged: dict[int, list[float]] = {}
        for epoch, seconds in STEP.findall(run.stdout + run.stderr):
            logged.setdefault(int(epoch), []).append(float(seconds))
        # Each epoch logs its first step, then the mean over its other steps.
        by_epoch = [steps * mean for _, mean in (lines[:2] for lines in logged.values())]
        assert len(by_epoch) == epochs, (len(by_epoch), epochs)
        return by_epoch


def own(project: Path, epochs: int, workers: int, precision: str, frozen: bool = False, **more: object) -> dict:
    """Train a fold in its own process; return `epochs` (images/s of each) and `seconds` of the whole call."""
    options = {"epochs": epochs, "workers": workers, "precision": precision, "frozen": frozen, **more}
    command = [sys.executable, str(Path(__file__).resolve()), str(project), json.dumps(options)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    if run.returncode:
        raise SystemExit(f"training ended with {run.returncode}:\n{(run.stdout + run.stderr)[-2000:]}")
    seconds = json.loads(run.stdout.splitlines()[-1])
    return {**seconds, "epochs": [float(speed) for speed in re.findall(r"([\d.]+) images/s", run.stderr)]}


def read_params(project: Path, options: dict, distilled: bool) -> dict:
    """Return the params of our run: those of bench/inputs.py, changed by `options`."""
    from inputs import params_of

    config = json.loads((project / "clip" / FOLDER_CONFIG).read_text())["model_cfg"]
    params = params_of(project / "clip", config["vision_cfg"]["image_size"], config["text_cfg"]["context_length"])
    params["train"] |= {"epochs": options["epochs"], "precision": options["precision"], **options.get("train", {})}
    params["runtime"] |= {"workers": options["workers"], "device": "cpu", "log_every": 1000}
    if options["frozen"]:
        params["train"] |= {"unfreeze_layers": 0, "augment": "none", "head_lr": options.get("head_lr", 1e-3)}
        params["model"]["projector"] |= {"image": "linear", "text": "linear"}
    params["losses"]["contrastive_distillation"]["weight"] = float(distilled)
    return params


def main() -> None:
    from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun, read_extraction_inputs
    from pipeline_lib.features.teacher_models import teacher_models
    from pipeline_lib.features.teachers import extract_teacher
    from pipeline_lib.features.trunk import extract_trunk
    from pipeline_lib.inference.engine import InferenceEngine
    from pipeline_lib.params.losses import LossesParams
    from pipeline_lib.params.model import ModelParams
    from pipeline_lib.params.runtime import RuntimeParams
    from pipeline_lib.params.section import parse_section
    from pipeline_lib.params.train import TrainParams
    from pipeline_lib.towers.kinds import resolve_towers
    from pipeline_lib.training.fold import train_fold
    from pipeline_lib.training.run_start import RunConfig

    project, options = Path(sys.argv[1]).resolve(), json.loads(sys.argv[2])
    teachers = {"big": project / "teacher"} if options.get("distilled") else {}
    trunk = project / options.get("trunk", "none")
    inputs = Inputs(project / "catalogue", project / "folds", project / "shards", trunk, teachers)
    params = read_params(project, options, bool(teachers))
    config = RunConfig(
        model=parse_section(ModelParams, params), losses=parse_section(LossesParams, params),
        train=parse_section(TrainParams, params), runtime=parse_section(RuntimeParams, params), device="cpu",
    )  # fmt: skip
    extraction = ExtractionRun(InferenceEngine("cpu", 256, options["workers"], "fp32"), "float16")
    started = time.perf_counter()
    if options["frozen"] and not trunk.is_dir():
        photos = pl.read_parquet(inputs.shards / "manifest.parquet", columns=["product_id", "photo"])
        texts = pl.read_parquet(inputs.catalogue / "products.parquet")["text"].to_list()
        extracted = ExtractionInputs(ShardReader(Manifest(inputs.shards)), photos, texts)
        extract_trunk(resolve_towers(config.model), extracted, trunk, extraction)
    for name, store in teachers.items():
        if not store.is_dir():
            extracted = read_extraction_inputs(inputs.catalogue, inputs.shards, None)
            for teacher in teacher_models(project / "starts" / name):
                extract_teacher(teacher, extracted, store, extraction)
    extracted_at = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DVC_ROOT"] = folder  # checkpoints and curves are not needed
        (Path(folder) / "out").mkdir()
        train_fold(config, inputs, 0, "bench", Path(folder) / "out")
    print(json.dumps({"seconds": time.perf_counter() - started, "extraction": extracted_at - started}))


if __name__ == "__main__":
    main()

"""Distillation on clips: training with a teacher's stored frames and words, and with the teacher in the loop.

    python bench/video_distillation.py [--quick]

The teacher has the size of CLIP ViT-B/32 (151 million parameters, random weights), scores as X-CLIP, and sees 12 frames
of each clip at 224 pixels. Both students train with the losses and weights of TeachCLIP: one the heads and the frame
attention of frozen towers whose features are stored, one both of its towers (ResNet-10-T with 4 text layers, 112
pixels) from pixels. The loop decodes and encodes each frame in every epoch, as the published one does. Time is that of
the steps of an epoch, the median of those after the first; memory the peak of the process.
`python bench/video_distillation.py PROJECT OPTIONS` is one run.
"""

import pipeline_lib.execution.threads  # noqa: F401, I001  (before torch, as in stages/train.py)
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from inputs import params_of, write_clip, write_clip_of, write_project
from results import Ratio, interleaved, peak_bytes, report
from teacher_in_loop import TeacherInLoop

from pipeline_lib.training.fold_data import Inputs

FRAMES, BATCH, HELD_OUT = 12, 8, 4
STUDENT_SIZE, CONTEXT = 112, 77


def main() -> None:
    if len(sys.argv) == 3:
        one_run(Path(sys.argv[1]), json.loads(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    count, epochs, repetitions = (BATCH, 2, 1) if quick else (2 * BATCH, 2, 2)
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        project = Path(folder)
        write_project(project, count, HELD_OUT, 240, 240, FRAMES)
        write_clip(project / "clip", STUDENT_SIZE, CONTEXT)
        write_teacher(project)
        stored = run(project, {"store": True})
        rows = []
        for title, locked in (("frozen student from stored features", True), ("student trained from pixels", False)):
            options = {"epochs": epochs, "locked": locked}
            measured: dict[bool, list[dict]] = {True: [], False: []}

            def side(in_loop: bool, options=options, measured=measured) -> float:
                measured[in_loop].append(run(project, {**options, "in_loop": in_loop}))
                return measured[in_loop][-1]["seconds"]

            ours, peer = interleaved(repetitions, lambda: side(False), lambda: side(True))
            goal = ">= 3" if locked else "-"
            rows.append(Ratio(f"{title}, stored teacher against in the loop", "s an epoch", ours, peer, goal, True))
            memory = [[one["peak"] / 2**20 for one in measured[in_loop]] for in_loop in (False, True)]
            rows.append(Ratio(f"{title}, stored teacher against in the loop", "MiB at most", *memory, "-", True))
    about = (
        f"{count} clips of {FRAMES} frames, batch {BATCH}, float32; teacher ViT-B/32 with random weights, X-CLIP's "
        f"score. Its outputs for {count + HELD_OUT} clips were stored once in {stored['seconds']:.1f} s."
    )
    report("Distillation on clips", about, rows, quick)


def run(project: Path, options: dict) -> dict:
    """Return `seconds` and `peak` of a run in its own process."""
    command = [sys.executable, str(Path(__file__).resolve()), str(project), json.dumps(options)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )
    if done.returncode:
        raise SystemExit(f"the run ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def write_teacher(project: Path) -> None:
    """Write a pair of the size of ViT-B/32 in open_clip's format, and the teacher's folder that names it."""
    from open_clip.factory import get_model_config

    folder, pair = project / "vit", project / "starts/vit"
    write_clip_of(get_model_config("ViT-B-32"), folder)
    pair.mkdir(parents=True)
    (pair / "model.yaml").write_text(
        f"image: {{kind: open_clip, name: {folder}, size: 224}}\n"
        f"text: {{kind: open_clip, name: {folder}, pooling: last, max_tokens: {CONTEXT}}}\nembedding_dim: 512\n"
    )


def one_run(project: Path, options: dict) -> None:
    """Store the teacher's outputs and the student's features, or train a fold; print seconds and peak memory."""
    inputs = Inputs(
        project / "catalogue", project / "folds", project / "shards", project / "trunk", {"vit": project / "teacher"}
    )
    params = params_of(project / "clip", STUDENT_SIZE, CONTEXT)
    seconds = store(project, inputs, params) if options.get("store") else train(project, inputs, params, options)
    print(json.dumps({"seconds": seconds, "peak": peak_bytes()}))


def store(project: Path, inputs: Inputs, params: dict) -> float:
    """Return the seconds of the teacher's pass; the student's features are stored, too."""
    from pipeline_lib.features.inputs import ExtractionRun, read_extraction_inputs
    from pipeline_lib.features.teacher_models import teacher_models
    from pipeline_lib.features.teachers import extract_teacher
    from pipeline_lib.features.trunk import extract_trunk
    from pipeline_lib.inference.engine import InferenceEngine
    from pipeline_lib.params.model import ModelParams
    from pipeline_lib.params.section import parse_section
    from pipeline_lib.towers.kinds import resolve_towers

    extraction = ExtractionRun(InferenceEngine("cpu", 64, 0, "fp32"), "float16")
    extracted = read_extraction_inputs(inputs.catalogue, inputs.shards, None)
    started = time.perf_counter()
    for teacher in teacher_models(project / "starts/vit"):
        extract_teacher(teacher, extracted, inputs.teachers["vit"], extraction, words_max_gb=1.0)
    seconds = time.perf_counter() - started
    extract_trunk(resolve_towers(parse_section(ModelParams, params)), extracted, inputs.trunk, extraction)
    return seconds


def train(project: Path, inputs: Inputs, params: dict, options: dict) -> float:
    """Return the median seconds of the steps of an epoch, without the first epoch."""
    from pipeline_lib.params.losses import LossesParams
    from pipeline_lib.params.model import ModelParams
    from pipeline_lib.params.runtime import RuntimeParams
    from pipeline_lib.params.section import parse_section
    from pipeline_lib.params.train import TrainParams
    from pipeline_lib.training.fold import train_fold
    from pipeline_lib.training.run_start import RunConfig
    from pipeline_lib.training.trainer import Trainer

    set_losses(params, options)
    # Without workers both sides compute in one process, so its peak memory is that of the run.
    runtime = parse_section(RuntimeParams, params).model_copy(update={"workers": 0})
    config = RunConfig(
        model=parse_section(ModelParams, params), losses=parse_section(LossesParams, params),
        train=parse_section(TrainParams, params), runtime=runtime, device="cpu",
    )  # fmt: skip
    if options["in_loop"]:
        put_teacher_in_loop(project, inputs)
    seconds: list[float] = []
    epoch = Trainer._epoch

    def timed(trainer, *rest):
        started = time.perf_counter()
        done = epoch(trainer, *rest)
        seconds.append(time.perf_counter() - started)
        return done

    Trainer._epoch = timed
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DVC_ROOT"] = folder  # checkpoints and curves are not needed
        (Path(folder) / "out").mkdir()
        train_fold(config, inputs, 0, "bench", Path(folder) / "out")
    return statistics.median(seconds[1:])


def set_losses(params: dict, options: dict) -> None:
    """Set the losses and the frame attention of TeachCLIP, and what the student trains."""
    for name, weight in (("info_nce", 0.2), ("coarse_distillation", 1.0), ("frame_distillation", 2.0)):
        params["losses"][name]["weight"] = weight
    params["losses"]["coarse_distillation"]["score"] = {"vit": "x_clip"}
    params["features"]["teacher_words"] = True
    params["model"]["frames"] |= {"pooling": "attention"}
    params["train"] |= {"photo": "mean_pool", "batch_size": BATCH, "epochs": options["epochs"], "augment": "none"}
    params["runtime"] |= {"device": "cpu", "log_every": 1000}
    if options["locked"]:
        params["train"]["unfreeze_layers"] = 0
        params["model"]["projector"] |= {"image": "linear", "text": "linear"}


def put_teacher_in_loop(project: Path, inputs: Inputs) -> None:
    """Replace the rows of the teacher's stores by the teacher."""
    from pipeline_lib.features.teacher_models import teacher_models
    from pipeline_lib.loading.photo_views import PhotoViews
    from pipeline_lib.shards.manifest import Manifest
    from pipeline_lib.shards.read import ShardReader
    from pipeline_lib.training import distillation
    from pipeline_lib.transforms.resizing import Resizing

    (teacher,) = teacher_models(project / "starts/vit")
    image = teacher.model.description["image"]
    views = PhotoViews(ShardReader(Manifest(inputs.shards)), image["size"], resizing=Resizing.of(image))
    distillation.find_teacher_rows = lambda _, products, *__: TeacherInLoop(teacher, views, products)


if __name__ == "__main__":
    main()

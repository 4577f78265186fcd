"""Images per second in training, both towers trained: `train_fold` against open_clip's own loop.

    python bench/training.py [--quick] [--context 24]

Both sides have the same model (ResNet-10t at 112 px and 4 text layers, random weights), loss, optimizer, photos (the
same bytes), random crops (0.9 to 1 of the area; ours are also flipped at random), captions, batch of 64 and precision.
Each side uses the faster of 1 and 2 workers, measured in a separate run. If the CPU computes in bf16, the precision is
the faster one of the peer. A value is the median over the epochs after the first. Texts have 7 to 18 tokens: open_clip
pads them to the context of 77, and `--context 24` measures without most of that padding.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from inputs import write_clip, write_project
from loops import BATCH, Peer, own, write_csv
from results import Ratio, interleaved, report

from pipeline_lib.execution.device import supports_bf16

PRECISIONS = {"fp32": "fp32", "amp_bf16": "bf16"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--context", type=int, default=77)
    options = parser.parse_args()
    size = 32 if options.quick else 112
    count, epochs, repetitions = (2 * BATCH, 2, 1) if options.quick else (16 * BATCH, 3, 3)
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        project = Path(folder)
        inputs = write_project(project, count, 16, 240, 128)
        write_clip(project / "clip", size, options.context)
        table = write_csv(inputs, count, project / "files")

        open_clip = Peer(project / "clip", table, count)

        def peer(workers: int, precision: str, epochs: int = epochs) -> float:
            return statistics.median(count / one for one in open_clip.seconds(epochs, workers, precision)[1:])

        def ours(workers: int, precision: str, epochs: int = epochs, **train: object) -> float:
            return statistics.median(own(project, epochs, workers, precision, train=train)["epochs"][1:])

        candidates = ("fp32", "amp_bf16") if supports_bf16("cpu") else ("fp32",)
        tries = [(number, name) for number in (1, 2) for name in candidates] if not options.quick else [(1, "fp32")]
        workers, precision = max(tries, key=lambda one: peer(*one, 2)) if len(tries) > 1 else tries[0]
        mine = PRECISIONS[precision]
        own_workers = 1 if options.quick else max((1, 2), key=lambda number: ours(number, mine, 2))
        sides = (
            lambda: ours(own_workers, mine),
            lambda: peer(workers, precision),
            lambda: ours(own_workers, mine, augment="none"),
        )
        values = interleaved(repetitions, *sides)
    about = (
        f"{count:,} products of one photo, {size} px, context {options.context}, batch {BATCH}, {precision}; "
        f"open_clip_train with {workers} worker(s), ours with {own_workers}; epochs after the first. The second row is "
        "ours without random crops, with a cache of the decoded photos, against the same runs of the peer."
    )
    ratios = [
        Ratio("training, both towers trained", "images/s", values[0], values[1], ">= 1.5"),
        Ratio("the same with the fixed view", "images/s", values[2], values[1], "-"),
    ]
    title = "Training" if options.context == 77 else f"Training, context {options.context}"
    report(title, about, ratios, options.quick)


if __name__ == "__main__":
    main()

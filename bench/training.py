"""Images a second in training, both towers open: `train_fold` against open_clip's own loop.

    python bench/training.py [--quick] [--context 24]

The same model (ResNet-10t at 112 px and 4 text layers, random weights), loss, optimizer, photos (byte for byte),
random crops (0.9 to 1 of the area; ours are mirrored by chance too), captions, batch of 64 and precision. The number
of workers is the better of 1 and 2 for each side, found in a run of its own, and the precision the peer's better one
where the processor computes in bf16. A figure is the median over the epochs after the first. Texts are 7 to 18 tokens:
open_clip pads them to the context of 77, `--context 24` shows what is left when it has little to pad.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from inputs import write_clip, write_project
from loops import BATCH, own, peer_epochs, write_csv
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

        def peer(workers: int, precision: str, epochs: int = epochs) -> float:
            seconds = peer_epochs(project / "clip", table, count, epochs, workers, precision, locked=False)
            return statistics.median(count / one for one in seconds[1:])

        def ours(workers: int, precision: str, epochs: int = epochs, **train: object) -> float:
            return statistics.median(own(project, epochs, workers, precision, train=train)["epochs"][1:])

        known = ("fp32", "amp_bf16") if supports_bf16("cpu") else ("fp32",)
        tries = [(number, name) for number in (1, 2) for name in known] if not options.quick else [(1, "fp32")]
        workers, precision = max(tries, key=lambda one: peer(*one, 2)) if len(tries) > 1 else tries[0]
        mine = PRECISIONS[precision]
        own_workers = 1 if options.quick else max((1, 2), key=lambda number: ours(number, mine, 2))
        sides = (
            lambda: ours(own_workers, mine),
            lambda: peer(workers, precision),
            lambda: ours(own_workers, mine, augment="none"),
        )
        found = interleaved(repetitions, *sides)
    about = (
        f"{count:,} products of one photo, {size} px, context {options.context}, batch {BATCH}, {precision}; "
        f"open_clip_train with {workers} worker(s), ours with {own_workers}; epochs after the first. The second row is "
        "ours without random crops, whose decoded photos are kept, against the same runs of the peer."
    )
    ratios = [
        Ratio("training, both towers open", "images/s", found[0], found[1], ">= 1.5"),
        Ratio("the same with the fixed view", "images/s", found[2], found[1], "-"),
    ]
    title = "Training" if options.context == 77 else f"Training, context {options.context}"
    report(title, about, ratios, options.quick)


if __name__ == "__main__":
    main()

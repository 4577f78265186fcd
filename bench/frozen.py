"""Ten epochs with both towers frozen, in seconds: ours extracts features once, open_clip runs them in every epoch.

    python bench/frozen.py [--quick]

Ours counts the extraction, the model setup, all epochs, validation and checkpoints. The second run of a sweep (another
lr of the heads) reads the stored features. The peer, `--lock-image --lock-text`, counts its steps only. Ours trains
linear heads on the features. The peer has no heads and trains its temperature.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from inputs import write_clip, write_project
from loops import BATCH, Peer, own, write_csv
from results import Ratio, interleaved, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    size = 32 if options.quick else 112
    count, epochs, repetitions = (2 * BATCH, 2, 1) if options.quick else (8 * BATCH, 10, 3)
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        project = Path(folder)
        inputs = write_project(project, count, 16, 240, 128)
        write_clip(project / "clip", size, 77)
        table = write_csv(inputs, count, project / "files")
        second: list[float] = []

        def ours() -> float:
            shutil.rmtree(project / "trunk", ignore_errors=True)
            first = own(project, epochs, 2, "fp32", frozen=True, trunk="trunk")
            second.append(own(project, epochs, 2, "fp32", frozen=True, trunk="trunk", head_lr=3e-3)["seconds"])
            return first["seconds"]

        def peer(workers: int = 2, epochs: int = epochs) -> float:
            return sum(Peer(project / "clip", table, count, locked=True).seconds(epochs, workers, "fp32"))

        best = 1 if options.quick else min((1, 2), key=lambda workers: peer(workers, 1))
        mine, theirs = interleaved(repetitions, ours, lambda: peer(best))
    about = f"{count:,} products, {size} px, context 77, {epochs} epochs, fp32; the peer with {best} worker(s)."
    report(
        "Frozen towers",
        about,
        [
            Ratio("extraction and all epochs", "s", mine, theirs, ">= 6", lower_is_better=True),
            Ratio("second run of a sweep", "s", second, theirs, ">= 30", lower_is_better=True),
        ],
        options.quick,
    )


if __name__ == "__main__":
    main()

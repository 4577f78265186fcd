"""The cost of a teacher: training with its stored outputs, without a teacher, and with the teacher in the loop.

    python bench/distillation.py [--quick]

The student is the model of bench/training.py, both towers trained. The teacher is ResNet-18 with 6 text layers of width
384, random weights. Ours reads the teacher's outputs, which are computed once for every photo and text; the time of
that is reported too. The peer is open_clip's own loop with `--distill-model`, which runs the teacher in every step. On
both sides the loss (InfoNCE + open_clip's DistillClipLoss), precision, photos, captions and batch are the same. A value
is the median over the epochs after the first.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from inputs import write_clip, write_project
from loops import BATCH, Peer, own, write_csv
from results import Ratio, interleaved, report
from training import PRECISIONS

from pipeline_lib.execution.device import supports_bf16

WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    size = 32 if options.quick else 112
    count, epochs, repetitions = (2 * BATCH, 2, 1) if options.quick else (16 * BATCH, 3, 3)
    precision = "amp_bf16" if supports_bf16("cpu") and not options.quick else "fp32"
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        project = Path(folder)
        inputs = write_project(project, count, 16, 240, 128)
        write_clip(project / "clip", size, 77)
        teacher, pair = project / "big", project / "starts" / "big"
        write_clip(teacher, size, 77, "resnet18", 384, 6)
        pair.mkdir(parents=True)
        (pair / "model.yaml").write_text(
            f"image: {{kind: open_clip, name: {teacher}, size: {size}}}\n"
            f"text: {{kind: open_clip, name: {teacher}, pooling: last, max_tokens: 77}}\nembedding_dim: 256\n"
        )
        table = write_csv(inputs, count, project / "files")

        def ours(distilled: bool) -> float:
            mine = PRECISIONS[precision]
            return statistics.median(own(project, epochs, WORKERS, mine, distilled=distilled)["epochs"][1:])

        def peer() -> float:
            open_clip = Peer(project / "clip", table, count, teacher=teacher)
            return statistics.median(count / one for one in open_clip.seconds(epochs, WORKERS, precision)[1:])

        extraction = own(project, 1, WORKERS, PRECISIONS[precision], distilled=True)["extraction"]
        values = interleaved(repetitions, lambda: ours(True), lambda: ours(False), peer)
    about = (
        f"{count:,} products of one photo, {size} px, batch {BATCH}, {precision}, {WORKERS} workers; the teacher's "
        f"outputs were stored in {extraction:.1f} s. At most 1.05 times the time is a ratio of at least 0.952."
    )
    rows = [
        Ratio("stored teacher, against none", "images/s", values[0], values[1], ">= 0.952"),
        Ratio("stored teacher, against open_clip with it in the loop", "images/s", values[0], values[2], "-"),
    ]
    report("Distillation", about, rows, options.quick)


if __name__ == "__main__":
    main()

"""What loading costs: a table of a million columns, and the checksums of a trained model and of a store of vectors.

    python bench/loads.py [--quick]

Each value is the CPU time of a process of its own, so that a busy machine changes it little; it does not count imports
and what is prepared. The table is read as the catalogue reads it, against polars with all cells as text. Model and
store are opened as they are; the share is the part of that time in which their checksums are computed. The model is a
CLIP ViT-B/32 of 605 MB, the store a million vectors of 512 float16.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from inputs import params_of, write_clip_of
from results import Ratio, interleaved, report

from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import save_model
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import parse_section
from pipeline_lib.stores.store import write_store
from pipeline_lib.towers.kinds import resolve_towers

REPO = Path(__file__).resolve().parent.parent
B32 = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
HEAD = "import sys, time, re\nfrom pathlib import Path\npath = Path(sys.argv[1])\n"
# Replaces `check_sum` in the module that opens by one that adds up its CPU time.
TIMED = """
from pipeline_lib.{module} import {name} as own
plain, spent = own.check_sum, []
def check_sum(*arguments):
    start = time.process_time()
    plain(*arguments)
    spent.append(time.process_time() - start)
own.check_sum = check_sum
"""
# What is read -> the imports and the code that is measured.
PROGRAMS = {
    "columns": (
        "from pipeline_lib.datasets.readers import read_records\n"
        "from pipeline_lib.params.data import DataParams\n"
        "from pipeline_lib.params.section import load_params, parse_section\n"
        "changes = {'root': str(path.parent), 'table': None}\n"
        "data = parse_section(DataParams, load_params()).model_copy(update=changes)\n",
        "assert len(read_records(data).products) == 2",
    ),
    "polars": ("import polars as pl\n", "pl.read_csv(path, infer_schema=False)"),
    "model": (TIMED.format(module="models", name="saved"), "own.load_model(path)"),
    "store": (TIMED.format(module="stores", name="store"), "own.open_store(path)"),
}
MEASURED = """
spent = globals().get("spent", [])
start = time.process_time()
{code}
seconds = time.process_time() - start
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000
print(seconds, peak, sum(spent))
"""


class Side:
    """Runs one of PROGRAMS on a path in a process of its own and returns its CPU seconds.

    `peaks` has the memory of each run in MB, `checksums` the part of its seconds that its checksums took.
    """

    def __init__(self, name: str, path: Path) -> None:
        imports, code = PROGRAMS[name]
        self.program, self.path = HEAD + imports + MEASURED.format(code=code), path
        self.peaks: list[float] = []
        self.checksums: list[float] = []

    def __call__(self) -> float:
        command = [sys.executable, "-c", self.program, str(self.path)]
        done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        seconds, peak, spent = map(float, done.stdout.split()[-3:])
        self.peaks.append(peak)
        self.checksums.append(spent)
        return seconds


def write_wide(file: Path, count: int) -> None:
    """Write a table of two products whose `count` columns are an id, a title, a photo and numbers."""
    file.parent.mkdir()
    names = ["id", "title", "image", *(f"column {number}" for number in range(count - 3))]
    rows = [[f"p{row}", f"shirt {row}", "a.jpg", *["1"] * (count - 3)] for row in range(2)]
    file.write_text("".join(",".join(line) + "\n" for line in [names, *rows]), encoding="utf-8")


def write_model(folder: Path) -> None:
    """Write a trained model with all its tensors."""
    write_clip_of(B32, folder / "clip")
    params = parse_section(ModelParams, params_of(folder / "clip", 224, 77)).model_copy(update={"embedding_dim": 512})
    sources = resolve_towers(params)
    (folder / "0").mkdir()
    save_model(folder / "0", build_model(describe(params, sources, True, []), sources), {})


def share(seconds: list[float], checksums: list[float]) -> str:
    """Return the medians of the checksums' time and of the whole, and the median of their ratio."""
    shares = [part / whole for part, whole in zip(checksums, seconds, strict=True)]
    medians = statistics.median(checksums), statistics.median(seconds)
    return f"{medians[0]:.3f} of {medians[1]:.2f} s, {100 * statistics.median(shares):.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    count, rows, repetitions = (10_000, 10_000, 1) if quick else (1_000_000, 1_000_000, 5)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_wide(root / "wide/products.csv", count)
        write_model(root)
        vectors = np.random.default_rng(0).standard_normal((rows, 512), np.float32)
        write_store(root / "store", [f"p{row}" for row in range(rows)], vectors, ("encoder", "view"))
        del vectors
        wide = root / "wide/products.csv"
        paths = {"columns": wide, "polars": wide, "model": root / "0", "store": root / "store"}
        sides = {kind: Side(kind, path) for kind, path in paths.items()}
        seconds = dict(zip(sides, interleaved(repetitions, *sides.values()), strict=True))
    peaks = {kind: max(side.peaks) for kind, side in sides.items()}
    shares = {kind: share(seconds[kind], sides[kind].checksums) for kind in ("model", "store")}
    without = {
        kind: [whole - part for whole, part in zip(seconds[kind], sides[kind].checksums, strict=True)]
        for kind in ("model", "store")
    }
    report(
        "Loads",
        f"CPU seconds (`bench/loads.py` says of what). A table of {count:,} columns takes {peaks['columns']:.0f} MB, "
        f"by polars {peaks['polars']:.0f} MB. Checksums: {shares['model']} of loading a model; {shares['store']} of "
        "opening a store, whose vectors are mapped and not read otherwise.",
        [
            Ratio("a table of many columns against polars", "s", seconds["columns"], seconds["polars"], "-", True),
            Ratio("a model against the same without checksum", "s", seconds["model"], without["model"], "-", True),
            Ratio("a store against the same without checksum", "s", seconds["store"], without["store"], "-", True),
        ],
        quick,
    )


if __name__ == "__main__":
    main()

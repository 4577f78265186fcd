"""Ranks of a large held-out fold in both directions: the code of revision 195a728 against the present one.

    python bench/large_fold.py [--products 20000] [--quick]

50,000 products of 512 dimensions with one text each, embedded like those of a trained model (see bench/evaluation.py).
Each repetition of a side is a process of its own. torch is loaded in both, as in training, but takes no part in the
time. CPU time counts the threads that wait in loops, too. Ranks of both sides are equal but for near ties, which
the older one decides by rounding.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from results import OLDER, Ratio, interleaved, report

REPO = Path(__file__).resolve().parent.parent
NUM_PRODUCTS = 50_000


def measure(side: str, folder: Path) -> None:
    """Compute the ranks of both directions by the code that is first on the path, save them, and print the seconds."""
    importlib.import_module("torch")
    texts, photos = (np.load(folder / f"{name}.npy") for name in ("texts", "photos"))
    recall = importlib.import_module("pipeline_lib.metrics.recall")
    relevance = importlib.import_module(f"pipeline_lib.metrics.{'positions' if side == 'older' else 'relevance'}")
    numbers = np.arange(len(texts))
    own = relevance.positions_from_pairs(numbers, numbers, len(texts))
    start, before = time.perf_counter(), time.process_time()
    if side == "older":
        ranks = [recall.best_positive_ranks(texts, photos, own), recall.best_positive_ranks(photos, texts, own)]
    else:
        ranks = [tied.expected() for tied in recall.both_ways_ranks(texts, photos, own)]
    seconds = {"wall": time.perf_counter() - start, "cpu": time.process_time() - before}
    np.save(folder / f"{side}.npy", np.stack(ranks))
    print(json.dumps(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=NUM_PRODUCTS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--side", choices=["older", "present"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        measure(options.side, options.folder)
        return
    count = 2_000 if options.quick else options.products
    cpu: dict[str, list[float]] = {"older": [], "present": []}
    with tempfile.TemporaryDirectory() as name:
        folder, older = Path(name), Path(name) / "older"
        older.mkdir()
        archive = subprocess.run(["git", "archive", OLDER, "pipeline_lib"], cwd=REPO, capture_output=True, check=True)
        subprocess.run(["tar", "--extract"], cwd=older, input=archive.stdout, check=True)
        write_embeddings(count, folder)

        def seconds(side: str) -> float:
            command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
            path = {"PYTHONPATH": str(older if side == "older" else REPO)}
            found = json.loads(
                subprocess.run(command, env=os.environ | path, stdout=subprocess.PIPE, check=True).stdout
            )
            cpu[side].append(found["cpu"])
            print(f"{side}: {found['wall']:.1f} s, {found['cpu']:.1f} s of CPU", flush=True)
            return float(found["wall"])

        before, now = interleaved(1 if options.quick else 3, lambda: seconds("older"), lambda: seconds("present"))
        ranks = {side: np.load(folder / f"{side}.npy") for side in cpu}
    differences = np.abs(ranks["older"] - ranks["present"])
    differing, most = np.mean(differences > 0), differences.max()
    assert differing < 0.01 and most <= 1, (differing, most)
    first = [100 * np.mean(one < 1.5) for one in ranks["present"]]
    about = (
        f"{count:,} texts and as many photos, 512 dimensions, one right answer each; R@1 {first[0]:.0f} % and "
        f"{first[1]:.0f} %; {100 * differing:.2f} % of the ranks differ, by {most:g} at most: near ties, which 195a728 "
        "decided in float32."
    )
    ratios = [
        Ratio("ranks of both directions, against 195a728", "s", now, before, ">= 4", True),
        Ratio("the same in CPU time", "s", cpu["present"], cpu["older"], "-", True),
    ]
    report(f"Ranks of {count:,} products", about, ratios, options.quick)


def write_embeddings(count: int, folder: Path) -> None:
    """Write texts.npy and photos.npy; the photo of each text has its number."""
    from evaluation import trained

    from pipeline_lib.metrics.relevance import positions_from_pairs

    numbers = np.arange(count)
    texts, photos = trained(np.random.default_rng(0), positions_from_pairs(numbers, numbers, count), count)
    np.save(folder / "texts.npy", texts)
    np.save(folder / "photos.npy", photos)


if __name__ == "__main__":
    main()

"""Peak memory and time of fusing, writing and scoring class predictions: in blocks, and with whole matrices as before.

    python bench/class_predictions.py [PRODUCTS] [CLASSES]

Each form runs in its own process on the same two stores. Both must give the same figures. Memory is that of the process
alone (RssAnon): pages of mapped stores belong to the file cache.
"""

import json
import multiprocessing
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.ensembling.classification import ClassPredictions
from pipeline_lib.ensembling.fit import Fitted
from pipeline_lib.ensembling.galleries import GalleryMembers
from pipeline_lib.ensembling.members import Member
from pipeline_lib.ensembling.probabilities import FusedGallery, fuse_probabilities, predictions_table, scores_table
from pipeline_lib.evaluation.label_issues import label_issues
from pipeline_lib.evaluation.summary import classification_trees
from pipeline_lib.params.ensemble import EnsembleParams
from pipeline_lib.stores.store import MatrixWriter, open_store

BLOCK = 1000


def write_stores(root: Path, products: int, classes: int) -> None:
    """Write the stores of two scales, whose most probable class is often the true one (product number % classes)."""
    rng = np.random.default_rng(1)
    ids = [f"p{number:08}" for number in range(products)]
    for scale in (64, 80):
        writer = MatrixWriter(root / str(scale), products, classes, "float32")
        for start in range(0, products, BLOCK):
            rows = np.arange(start, min(start + BLOCK, products))
            powers = rng.random((len(rows), classes), np.float32) ** 8
            powers[np.arange(len(rows)), rows % classes] += rng.random(len(rows), np.float32) * 3
            writer.write(start, powers / powers.sum(axis=1, keepdims=True))
        writer.close(ids, "made", "none")


def opened(root: Path) -> FusedGallery:
    """Return the gallery of all products, held out of one fold."""
    stores = {scale: open_store(root / str(scale)) for scale in (64, 80)}
    classes = [f"class {number:05}" for number in range(stores[64].header.dim)]
    ids = stores[64].ids
    labels = [classes[number % len(classes)] for number in range(len(ids))]
    products = pl.DataFrame({"product_id": ids, "label": labels, "group_id": ids})
    members = [Member(root, 0, scale, None, None, store, None, classes) for scale, store in stores.items()]
    return FusedGallery(GalleryMembers("oof", 0, products, []), members, "arithmetic", Fitted())


def in_blocks(root: Path, out: Path) -> object:
    """Fuse, write and score as the stages do."""
    fused = opened(root)
    params = EnsembleParams.model_construct(temperature="none")
    scores = ClassPredictions([fused], {0: Fitted()}).write(out, params, [64, 80], [])
    issues = label_issues(scores, out / "probabilities.parquet", fused.classes)
    return classification_trees(scores, fused.classes), issues.height


def whole(root: Path, out: Path) -> object:
    """Do the same with one matrix for each table, as the stages did before."""
    fused = opened(root)
    gallery, ids = fused.gallery, fused.gallery.products["product_id"].to_list()
    stores = [member.probabilities for member in fused.members if member.probabilities is not None]
    matrix = fuse_probabilities("arithmetic", stores, ids, Fitted())
    table = predictions_table(gallery, gallery.products, fused.classes, matrix)
    kind = pl.Array(pl.Float32, len(fused.classes))
    parts = [pl.Series("probabilities", store.rows(ids), dtype=kind) for store in stores]
    held_out = pl.concat(pl.DataFrame(part) for part in [*parts, table["probabilities"].list.to_array(kind.size)])
    table.write_parquet(out / "probabilities.parquet", compression="zstd", compression_level=3)
    held_out.write_parquet(out / "oof.parquet", compression="zstd", compression_level=3)
    read = pl.read_parquet(out / "probabilities.parquet")
    matrix = read["probabilities"].list.to_array(kind.size).to_numpy()
    scores = scores_table(gallery, gallery.products, fused.classes, matrix)
    issues = label_issues(scores, out / "probabilities.parquet", fused.classes)
    return classification_trees(scores, fused.classes), issues.height


def private_memory() -> float:
    """Return the memory of this process without mapped files, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def measure(form: str, root: str) -> None:
    """Run one form and print its seconds, peak memory in MB, and figures."""
    with tempfile.TemporaryDirectory(dir=root) as out:
        start, ended, samples = time.perf_counter(), threading.Event(), [private_memory()]

        def sample() -> None:
            while not ended.wait(0.01):
                samples.append(private_memory())

        watching = threading.Thread(target=sample)
        watching.start()
        figures = {"in blocks": in_blocks, "whole": whole}[form](Path(root), Path(out))
        seconds = time.perf_counter() - start
        ended.set()
        watching.join()
    (Path(root) / f"{form}.json").write_text(json.dumps([seconds, max(samples), figures]))


def main(products: int = 100_000, classes: int = 1_000) -> None:
    """Print a line for each form, and the ratio of their peaks."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as root:
        write_stores(Path(root), products, classes)
        results = []
        for form in ("whole", "in blocks"):
            process = context.Process(target=measure, args=(form, root))
            process.start()
            process.join()
            results.append(json.loads((Path(root) / f"{form}.json").read_text()))
            print(f"{products:,} x {classes:,} {form}: {results[-1][0]:.1f} s, peak {results[-1][1]:,.0f} MB")
    assert results[0][2] == results[1][2], "the figures differ"
    print(f"peak: {results[0][1] / results[1][1]:.1f} x less, equal figures")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

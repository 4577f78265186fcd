"""Scaling: seconds and bytes of each stage's library function at two sizes, extrapolated to a million products.

    OMP_NUM_THREADS=1 python bench/growth.py --sizes 2000 8000

Products are synthetic: one JPEG of 96 x 96 pixels and one text each, and a query for every tenth product. Features are
those of timm's convnext_atto at 64 px with random weights, measured on at most 500 photos and scaled to all; other
trunks differ. The seconds for a million follow from the larger size and the complexity of the algorithm, the column
`law`. The measured exponent is in the column before it. Prints a Markdown table.
"""

import argparse
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import timm
from PIL import Image

from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.catalogue.tables import write_catalogue
from pipeline_lib.datasets.readers import READERS
from pipeline_lib.execution.parallel import map_parallel
from pipeline_lib.inference.engine import InferenceEngine, encode_photos
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.metrics.recall import best_positive_ranks
from pipeline_lib.metrics.relevance import positions_from_lists
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.index import IndexParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.retrieval.faiss_index import INDEX_KINDS, Fingerprints, build_index
from pipeline_lib.retrieval.search import open_index
from pipeline_lib.shards.read import open_shards
from pipeline_lib.shards.write import list_photos, write_shards
from pipeline_lib.splitting.folds import split_products
from pipeline_lib.stores.store import MatrixWriter

REPO = Path(__file__).resolve().parent.parent
MILLION = 1_000_000
DIM, SEARCHES, QUERY_SHARE = 128, 100, 10
SOURCE = Fingerprints("growth", "none")
# Seconds for n products, up to a constant factor.
LAWS: dict[str, Callable[[float], float]] = {
    "n": lambda n: n,
    "n log n": lambda n: n * math.log(n),
    "log n": math.log,
    "n^2": lambda n: n * n,
}
LAW_OF = {
    "catalogue": "n log n",
    "folds": "n log n",
    "shards": "n",
    "features": "n",
    "index hnsw": "n log n",
    "search hnsw, per query": "log n",
    "evaluate": "n^2",
}


def synthetic(root: Path, count: int) -> None:
    """Write `count` products, each with its own photo: coarse noise, as compressible as a simple photo."""
    rng = np.random.default_rng(count)
    (root / "images").mkdir(parents=True)
    rows = ["id,title,label"]
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        coarse.resize((96, 96), Image.Resampling.BICUBIC).save(root / "images" / f"{number}.jpg", quality=90)
        rows.append(f"{number},thing number {number},class {number % 50}")
    (root / "table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def clustered(count: int) -> np.ndarray:
    """Return unit rows (count, DIM) around 200 centres, so products have neighbours as in a trained space."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, DIM))[rng.integers(0, 200, count)] + 0.5 * rng.standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(count: int, project: Path, workers: int) -> dict[str, tuple[float, int]]:
    """Return the seconds and the bytes written of each part; for a search, seconds per query and no bytes."""
    results: dict[str, tuple[float, int]] = {}

    def timed(name: str, out: Path | None, work: Callable[[], object], times: float = 1.0) -> object:
        start = time.perf_counter()
        result = work()
        results[name] = ((time.perf_counter() - start) * times, int(bytes_of(out) * times) if out else 0)
        return result

    params = load_params(REPO / "params.yaml")
    params["data"] |= {"root": str(project / "raw")}
    synthetic(project / "raw", count)
    data, shards = parse_section(DataParams, params), parse_section(ShardsParams, params)
    tables, tars, features = (project / name for name in ("catalogue", "shards", "features"))
    for folder in (tables, tars):
        folder.mkdir()

    def make_catalogue() -> pl.DataFrame:
        catalogue = build_catalogue(READERS["csv_table"](data), data, workers)
        write_catalogue(tables, catalogue)
        return catalogue

    catalogue = timed("catalogue", tables, make_catalogue)
    timed("folds", None, lambda: split_products(catalogue.products, 3, 0.2, 7))
    timed("shards", tars, lambda: write_shards(list_photos(catalogue.media), project / "raw", shards, tars, workers))

    tower = timm.create_model("convnext_atto", pretrained=False, num_classes=0).eval()
    part = np.arange(min(count, 500))

    def extract() -> None:
        writer = MatrixWriter(features, len(part), tower.num_features, "float16")
        views = PhotoViews(open_shards(tars, None), 64)
        run = encode_photos(lambda pixels, _: tower(pixels / 255), views, part, InferenceEngine("cpu", 64, 0, "fp32"))
        for start, block in run:
            writer.write(start, block.numpy())
        writer.close([str(row) for row in part], "growth", "none")

    timed("features", features, extract, times=count / len(part))

    products = clustered(count)
    ids = [str(number) for number in range(count)]
    params = parse_section(IndexParams, params)
    for kind in INDEX_KINDS:
        out = project / kind
        timed(f"index {kind}", out, lambda kind=kind, out=out: build_index(out, kind, ids, products, SOURCE, params))
        opened = open_index(out, SOURCE)
        opened.search(products[:1], 10)
        search = partial(opened.search, products[:SEARCHES], 10)
        timed(f"search {kind}, per query", None, search, 1 / SEARCHES)
    queries = np.arange(0, count, QUERY_SHARE)
    positives = positions_from_lists([int(row)] for row in queries)
    timed("evaluate", None, lambda: best_positive_ranks(products[queries], products, positives))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=[2000, 8000])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    small, large = options.sizes
    # Start the worker processes first, so that the first size does not include it.
    list(map_parallel(abs, range(2 * options.workers), options.workers))
    results = []
    for size in options.sizes:
        project = Path(tempfile.mkdtemp(prefix="vitrine-growth-"))
        try:
            results.append(measure(size, project, options.workers))
        finally:
            shutil.rmtree(project)
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    print(
        f"{date.today()}, {os.cpu_count()} cores ({model.rpartition(': ')[2]}), {options.workers} workers, "
        f"load {os.getloadavg()[0]:.1f} at the end\n"
    )
    print(f"| part | s at {small:,} | s at {large:,} | exponent | law | s at 1 M | MB at {large:,} | MB at 1 M |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (seconds, size) in results[1].items():
        before = results[0][name][0]
        law = LAW_OF.get(name, "n")
        million = seconds * LAWS[law](MILLION) / LAWS[law](large)
        exponent = math.log(seconds / before) / math.log(large / small)
        amounts = f"{size / 1e6:.2f} | {size / 1e6 * MILLION / large:,.0f}" if size else "- | -"
        print(f"| {name} | {before:.4g} | {seconds:.4g} | {exponent:.2f} | {law} | {million:,.4g} | {amounts} |")


if __name__ == "__main__":
    main()

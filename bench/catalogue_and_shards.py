"""Times the catalogue and shards stages on real photos, and measures the peak memory of their processes.

    python bench/catalogue_and_shards.py --data ../shared/data/grocery --label label

Goal: at least 300 photos/s for both stages together with 2 workers, in less than 1 GB.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import psutil
from ruamel.yaml import YAML

REPO = Path(__file__).resolve().parent.parent


def run_stage(module: str, project: Path) -> tuple[float, int]:
    """Return seconds and the largest sum of resident memory, in bytes, over the stage's process and its children."""
    environment = os.environ | {"PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "2"}
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", module], cwd=project, env=environment)
    peak = 0
    while child.poll() is None:
        peak = max(peak, memory_of(psutil.Process(child.pid)))
        time.sleep(0.02)
    if child.returncode:
        raise SystemExit(f"{module} failed with exit status {child.returncode}")
    return time.perf_counter() - start, peak


def memory_of(process: psutil.Process) -> int:
    total = 0
    try:
        for member in [process, *process.children(recursive=True)]:
            total += member.memory_info().rss
    except psutil.NoSuchProcess:  # the process ended after it was listed
        pass
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared/data/grocery")
    parser.add_argument("--label", default="label")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if not options.data.is_dir():
        raise SystemExit(f"{options.data}: no such folder; give a folder with a CSV and its images as --data")
    yaml = YAML()
    params = yaml.load((REPO / "params.yaml").read_text(encoding="utf-8"))
    params["data"]["root"] = str(options.data.resolve())
    params["data"]["columns"]["label"] = options.label
    params["runtime"]["workers"] = options.workers
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        yaml.dump(params, project / "params.yaml")
        results = {module: run_stage(module, project) for module in ("stages.catalogue", "stages.shards")}
        photos = int(pl.read_parquet(project / "data/work/catalogue/media.parquet")["media"].list.len().sum())
    total = sum(seconds for seconds, _ in results.values())
    for module, (seconds, peak) in results.items():
        print(f"{module}: {seconds:.2f} s, {photos / seconds:,.0f} photos/s, peak {peak / 1e6:,.0f} MB")
    print(f"together: {photos:,} photos in {total:.2f} s = {photos / total:,.0f} photos/s, including start-up")


if __name__ == "__main__":
    main()

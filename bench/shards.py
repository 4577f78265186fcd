"""Photos a second into shards and out of them again.

    python bench/shards.py [--quick] [--data FOLDER]

Writing: `write_shards` against img2dataset, which clip-retrieval and open_clip's README use, with as many processes,
the same sides and quality, reading the same files by file:// URLs, its hashes and EXIF extraction off. Photos of a
camera at two sizes, and of a shop, an object on white. Reading: one process through ShardReader and `decode` as
training does it, against libjpeg-turbo itself (torchvision's binding, which calls it and nothing else) on the same
bytes, held in memory. `--data` takes a folder of JPEGs in place of the smallest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import torch
from inputs import photo, studio_photo, write_photos
from results import Ratio, interleaved, report
from torchvision.io import ImageReadMode, decode_jpeg

from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.shards.write import write_shards
from pipeline_lib.transforms.decode import decode

QUALITY, WORKERS, PER_SHARD = 92, 2, 125
# Besides camera photos of 640 x 480: what they are called, and how they are drawn.
KINDS = {"1,200 x 900": (photo, 1200, 900), "1,000 x 1,000 on white": (studio_photo, 1000, 1000)}
PEER = Path(sys.prefix) / "peers" / "bin" / "python"
PEER_THREADS = 2  # a process; 8 and 32 were slower here


def img2dataset(root: Path, names: list[str], size: int) -> float:
    """Return photos/s of the peer; every photo must come out."""
    with tempfile.TemporaryDirectory() as folder:
        table, script = Path(folder) / "urls.parquet", Path(__file__).parent / "img2dataset_run.py"
        pl.DataFrame({"url": [(root / name).resolve().as_uri() for name in names]}).write_parquet(table)
        command = [PEER, script, table, Path(folder) / "out", size, QUALITY, WORKERS, PEER_THREADS]
        run = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"img2dataset ended with {run.returncode}:\n{(run.stdout + run.stderr)[-2000:]}")
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["photos"] == len(names), told
    return len(names) / told["seconds"]


def written(root: Path, names: list[str], size: int, repetitions: int) -> list[list[float]]:
    """Return photos/s of both sides."""
    media = pl.DataFrame({"product_id": names, "media": [[name] for name in names]})

    def ours() -> float:
        with tempfile.TemporaryDirectory() as out:
            begun = time.perf_counter()
            params = ShardsParams(size=size, quality=QUALITY, photos_per_shard=PER_SHARD)
            write_shards(media, root, params, Path(out), WORKERS)
            return len(names) / (time.perf_counter() - begun)

    ours()  # starts the pool of processes, which is kept
    return interleaved(repetitions, ours, lambda: img2dataset(root, names, size))


def decoded(root: Path, names: list[str], size: int, repetitions: int, folder: Path) -> list[list[float]]:
    """Return photos/s of reading and decoding stored photos, and of libjpeg-turbo on bytes held in memory."""
    media = pl.DataFrame({"product_id": names, "media": [[name] for name in names]})
    folder.mkdir()
    write_shards(media, root, ShardsParams(size=size, quality=QUALITY, photos_per_shard=PER_SHARD), folder, WORKERS)
    reader = ShardReader(Manifest(folder))
    held = [torch.frombuffer(bytearray(reader.read(row)), dtype=torch.uint8) for row in range(len(reader))]

    def read() -> float:
        begun = time.perf_counter()
        for row in range(len(reader)):
            decode(reader.read(row), size // 2)
        return len(reader) / (time.perf_counter() - begun)

    def raw() -> float:
        begun = time.perf_counter()
        for data in held:
            decode_jpeg(data, mode=ImageReadMode.RGB)
        return len(held) / (time.perf_counter() - begun)

    return interleaved(repetitions, read, raw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    if not PEER.exists():
        raise SystemExit("no img2dataset here; `make .venv/.bench` installs it")
    count, repetitions = (250, 1) if options.quick else (2_000, 3)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        place = Path(folder)
        if options.data:
            small, names = (
                options.data,
                sorted(path.relative_to(options.data).as_posix() for path in options.data.rglob("*.jpg"))[:count],
            )
        else:
            small, names = place / "small", write_photos(place / "small", count)
        sides = {"640 x 480": (small, names, 128)}
        for what, (draw, width, height) in KINDS.items():
            root = place / what
            sides[what] = (root, write_photos(root, count * 400 // width, width, height, draw), 256)
        rows = [
            Ratio(
                f"writing {what} at {size} px, by img2dataset",
                "photos/s",
                *written(root, some, size, repetitions),
                ">= 2",
            )
            for what, (root, some, size) in sides.items()
        ]
        for root, some, size in list(sides.values())[:2]:
            found = decoded(root, some, size, 5 * repetitions, place / f"shards-{size}")
            rows.append(Ratio(f"reading and decoding {size} px, by libjpeg-turbo", "photos/s", *found, ">= 0.8"))
    counts = ", ".join(f"{len(some):,} photos of {what}" for what, (_, some, _) in sides.items())
    about = f"{counts}; quality {QUALITY}; {WORKERS} processes write, one reads, at full scale."
    report("Shards", about, rows, options.quick)


if __name__ == "__main__":
    main()

"""Photos per second of writing shards and of reading them.

    python bench/shards.py [--quick] [--data FOLDER]

Writing compares `write_shards` with img2dataset, which clip-retrieval and the README of open_clip use. Both use as many
processes, the same side and quality, and the same files (file:// URLs); img2dataset's hashes and EXIF extraction are
off. The photos are camera photos of two sizes, and product photos on white. Reading compares one process of ShardReader
and `decode`, as in training, with libjpeg-turbo (through torchvision's binding) on the same bytes in memory. `--data`
is a folder of JPEGs to use instead of the smallest photos.
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
from pipeline_lib.shards.write import list_photos, write_shards
from pipeline_lib.transforms.decode import decode

QUALITY, WORKERS, PER_SHARD = 92, 2, 125
# Photos in addition to camera photos of 640 x 480: name -> how they are drawn.
KINDS = {"1,200 x 900": (photo, 1200, 900), "1,000 x 1,000 on white": (studio_photo, 1000, 1000)}
PEER = Path(sys.prefix) / "peers" / "bin" / "python"
PEER_THREADS = 2  # per process; 8 and 32 were slower here


def img2dataset(root: Path, names: list[str], size: int) -> float:
    """Return photos/s of the peer; it must write every photo."""
    with tempfile.TemporaryDirectory() as folder:
        table, script = Path(folder) / "urls.parquet", Path(__file__).parent / "img2dataset_run.py"
        pl.DataFrame({"url": [(root / name).resolve().as_uri() for name in names]}).write_parquet(table)
        command = [PEER, script, table, Path(folder) / "out", size, QUALITY, WORKERS, PEER_THREADS]
        run = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"img2dataset: exit status {run.returncode}:\n{(run.stdout + run.stderr)[-2000:]}")
    stats = json.loads(run.stdout.splitlines()[-1])
    assert stats["photos"] == len(names), stats
    return len(names) / stats["seconds"]


def writing_speeds(root: Path, names: list[str], size: int, repetitions: int) -> list[list[float]]:
    """Return photos/s of writing on both sides."""
    media = pl.DataFrame({"product_id": names, "media": [[name] for name in names]})

    def ours() -> float:
        with tempfile.TemporaryDirectory() as out:
            start = time.perf_counter()
            params = ShardsParams(size=size, quality=QUALITY, photos_per_shard=PER_SHARD, colour_profile="convert")
            write_shards(list_photos(media), root, params, Path(out), WORKERS)
            return len(names) / (time.perf_counter() - start)

    ours()  # starts the pool of processes, which later calls reuse
    return interleaved(repetitions, ours, lambda: img2dataset(root, names, size))


def reading_speeds(root: Path, names: list[str], size: int, repetitions: int, folder: Path) -> list[list[float]]:
    """Return photos/s of reading and decoding stored photos, and of libjpeg-turbo on bytes in memory."""
    media = pl.DataFrame({"product_id": names, "media": [[name] for name in names]})
    folder.mkdir()
    write_shards(
        list_photos(media),
        root,
        ShardsParams(size=size, quality=QUALITY, photos_per_shard=PER_SHARD, colour_profile="convert"),
        folder,
        WORKERS,
    )
    reader = ShardReader(Manifest(folder))
    in_memory = [torch.frombuffer(bytearray(reader.read(row)), dtype=torch.uint8) for row in range(len(reader))]

    def read() -> float:
        start = time.perf_counter()
        for row in range(len(reader)):
            decode(reader.read(row), size // 2)
        return len(reader) / (time.perf_counter() - start)

    def raw() -> float:
        start = time.perf_counter()
        for data in in_memory:
            decode_jpeg(data, mode=ImageReadMode.RGB)
        return len(in_memory) / (time.perf_counter() - start)

    return interleaved(repetitions, read, raw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    if not PEER.exists():
        raise SystemExit("img2dataset is not installed; run `make .venv/.bench`")
    count, repetitions = (250, 1) if options.quick else (2_000, 3)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        root = Path(folder)
        if options.data:
            small, names = (
                options.data,
                sorted(path.relative_to(options.data).as_posix() for path in options.data.rglob("*.jpg"))[:count],
            )
        else:
            small, names = root / "small", write_photos(root / "small", count)
        sides = {"640 x 480": (small, names, 128)}
        for what, (draw, width, height) in KINDS.items():
            photos = root / what
            sides[what] = (photos, write_photos(photos, count * 400 // width, width, height, draw), 256)
        rows = [
            Ratio(
                f"writing {what} at {size} px, by img2dataset",
                "photos/s",
                *writing_speeds(photos, some, size, repetitions),
                ">= 2",
            )
            for what, (photos, some, size) in sides.items()
        ]
        for photos, some, size in list(sides.values())[:2]:
            speeds = reading_speeds(photos, some, size, 5 * repetitions, root / f"shards-{size}")
            rows.append(Ratio(f"reading and decoding {size} px, by libjpeg-turbo", "photos/s", *speeds, ">= 0.8"))
    counts = ", ".join(f"{len(some):,} photos of {what}" for what, (_, some, _) in sides.items())
    about = f"{counts}; quality {QUALITY}; {WORKERS} processes write, one reads, at full scale."
    report("Shards", about, rows, options.quick)


if __name__ == "__main__":
    main()

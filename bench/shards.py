"""Photos a second into shards and out of them again.

    python bench/shards.py [--quick] [--data FOLDER]

Writing: `write_shards`, photos of 640 x 480 to a shorter side of 128, against a plain Pillow loop over a pool of as
many processes that resizes, encodes with the same quality and packs tars with the standard library. Reading: one
process through ShardReader and `decode` as training does it, against libjpeg-turbo itself (torchvision's binding, which
calls it and nothing else) on the same bytes, held in memory. `--data` takes a folder of JPEGs in place of drawn ones.
"""

import argparse
import io
import tarfile
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import torch
from inputs import write_photos
from PIL import Image
from results import Ratio, interleaved, report
from torchvision.io import ImageReadMode, decode_jpeg

from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.shards.write import write_shards
from pipeline_lib.transforms.decode import decode

SIZE, QUALITY, WORKERS = 128, 92, 2


def shrink(path: Path) -> bytes:
    """Return one photo as everybody stores it."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = SIZE / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY, subsampling="4:4:4")
    return stream.getvalue()


def plain_loop(paths: list[Path], out: Path, per_shard: int) -> float:
    """Return photos/s of the plain loop; the pool is there before the clock starts."""
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(shrink, paths[:WORKERS]))
        begun = time.perf_counter()
        for start in range(0, len(paths), per_shard):
            with tarfile.open(out / f"{start:06d}.tar", "w") as tar:
                for number, data in enumerate(pool.map(shrink, paths[start : start + per_shard], chunksize=16), start):
                    member = tarfile.TarInfo(f"{number:06d}.jpg")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        return len(paths) / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    count, repetitions = (200, 1) if options.quick else (2_000, 5)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        root = options.data or Path(folder) / "raw"
        if options.data:
            names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))[:count]
        else:
            names = write_photos(root, count)
        media = pl.DataFrame({"product_id": names, "media": [[name] for name in names]})
        per_shard = max(1, len(names) // 8)
        params = ShardsParams(size=SIZE, quality=QUALITY, photos_per_shard=per_shard)

        def ours() -> float:
            with tempfile.TemporaryDirectory(dir=folder) as out:
                begun = time.perf_counter()
                write_shards(media, root, params, Path(out), WORKERS)
                return len(names) / (time.perf_counter() - begun)

        def peer() -> float:
            with tempfile.TemporaryDirectory(dir=folder) as out:
                return plain_loop([root / name for name in names], Path(out), per_shard)

        ours()  # starts the pool of processes, which is kept
        written = interleaved(repetitions, ours, peer)
        shards = Path(folder) / "shards"
        shards.mkdir()
        write_shards(media, root, params, shards, WORKERS)
        reader = ShardReader(Manifest(shards))
        held = [torch.frombuffer(bytearray(reader.read(row)), dtype=torch.uint8) for row in range(len(reader))]

        def read() -> float:
            begun = time.perf_counter()
            for row in range(len(reader)):
                np.asarray(decode(reader.read(row), SIZE // 2))
            return len(reader) / (time.perf_counter() - begun)

        def raw() -> float:
            begun = time.perf_counter()
            for data in held:
                decode_jpeg(data, mode=ImageReadMode.RGB)
            return len(held) / (time.perf_counter() - begun)

        decoded = interleaved(repetitions, read, raw)
    about = (
        f"{len(names):,} photos, stored at {SIZE} px and quality {QUALITY}, {WORKERS} processes write, one reads; "
        "64 px are asked for, so nothing is decoded at a fraction of its scale."
    )
    report(
        "Shards",
        about,
        [
            Ratio("writing, against a Pillow loop", "photos/s", *written, ">= 2"),
            Ratio("reading and decoding, against libjpeg-turbo", "photos/s", *decoded, ">= 0.8"),
        ],
        options.quick,
    )


if __name__ == "__main__":
    main()

"""File formats: this project's own reading and writing beside the libraries made for it, each on the same data.

    python bench/formats.py [--quick]

Tars: the members of a shard by `ShardWriter`'s own function against webdataset's TarWriter, photos already encoded.
Passes: all photos of the tars in order, as bytes, by `ShardReader` against webdataset's streaming reader, on disk and
from a local S3 server (batches of 256; webdataset's own way is curl, one tar after another). Matrices:
random batches and a pass over a mapped matrix, as .npy (numpy's own format) and as Arrow (pyarrow, fixed-size lists)
against the safetensors file that stores had before. Tables: an out-of-fold table with fixed-size lists, written as
Parquet by polars against pyarrow, and read by blocks of its row groups by polars' slices against pyarrow's batches.
"""

import argparse
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset
from inputs import write_photos
from results import Ratio, interleaved, report

from pipeline_lib.artifacts.io import block_rows
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.shards.tars import END_OF_TAR, tar_member
from pipeline_lib.shards.write import list_photos, write_shards

DIM, BATCH, CLASSES = 512, 256, 50


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def tar_sides(folder: Path, count: int) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return writers of a shard of `count` photos of 5 KB; photos/s each."""
    data, about = np.random.default_rng(0).bytes(5_000), json.dumps({"product_id": "a", "photo": 0}).encode()

    def own() -> None:
        with (folder / "own.tar").open("wb") as stream:
            for row in range(count):
                stream.write(tar_member(f"{row:09d}.json", about))
                stream.write(tar_member(f"{row:09d}.jpg", data))
            stream.write(END_OF_TAR)

    def peer() -> None:
        with (folder / "peer.tar").open("wb") as stream:
            writer = webdataset.TarWriter(stream, user="", group="", mode=0o644, mtime=0, encoder=False)
            for row in range(count):
                writer.write({"__key__": f"{row:09d}", "json": about, "jpg": data})
            writer.close()

    return lambda: count / seconds(own), lambda: count / seconds(peer)


def pass_sides(folder: Path, count: int) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return readers of all photos of `count` in order; photos/s each."""
    names = write_photos(folder / "photos", count, 160, 120)
    media = pl.DataFrame({"product_id": names, "media": [[name] for name in names]})
    (folder / "shards").mkdir()
    write_shards(
        list_photos(media),
        folder / "photos",
        ShardsParams(size=128, quality=92, photos_per_shard=500, colour_profile="convert"),
        folder / "shards",
        2,
    )
    tars = sorted(str(path) for path in (folder / "shards").glob("*.tar"))
    return readers(ShardReader(Manifest(folder / "shards")), tars)


def readers(reader: ShardReader, tars: list[str]) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return a pass over all photos by our reader, in batches, and by webdataset's; photos/s each."""
    count = len(reader)

    def own() -> None:
        batches = (range(start, min(start + BATCH, count)) for start in range(0, count, BATCH))
        assert sum(1 for batch in batches for _ in reader.read_all(batch)) == count

    def peer() -> None:
        assert sum(1 for _ in webdataset.WebDataset(tars, shardshuffle=False, empty_check=False)) == count

    return lambda: count / seconds(own), lambda: count / seconds(peer)


@contextlib.contextmanager
def remote_sides(shards: Path) -> Iterator[tuple[Callable[[], float], Callable[[], float]]]:
    """Yield the same passes over shards that a local S3 server has."""
    import s3fs

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], **quiet)
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}
    try:
        while server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        system = s3fs.S3FileSystem(s3_additional_kwargs={"ACL": "public-read"})
        system.mkdir("bucket")
        system.put(str(shards), "s3://bucket/shards", recursive=True)
        tars = [f"http://127.0.0.1:{port}/bucket/shards/{path.name}" for path in sorted(shards.glob("*.tar"))]
        yield readers(ShardReader(Manifest("s3://bucket/shards")), tars)
    finally:
        server.terminate()
        server.wait()


def write_matrices(folder: Path, rows: int) -> None:
    """Write one float16 matrix (rows, DIM) in the three formats."""
    matrix = np.random.default_rng(0).standard_normal((rows, DIM), dtype=np.float32).astype(np.float16)
    np.save(folder / "matrix.npy", matrix)
    head = json.dumps({"matrix": {"dtype": "F16", "shape": [rows, DIM], "data_offsets": [0, matrix.nbytes]}}).encode()
    head += b" " * (-len(head) % 8)
    (folder / "matrix.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + matrix.tobytes())
    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), DIM)
    table = pa.table({"id": pa.array([str(row) for row in range(rows)]), "vector": column})
    with pa.OSFile(str(folder / "matrix.arrow"), "wb") as stream, pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def open_safetensors(folder: Path) -> np.ndarray:
    path = folder / "matrix.safetensors"
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        shape = json.loads(stream.read(length))["matrix"]["shape"]
    return np.memmap(path, dtype=np.float16, mode="r", offset=8 + length, shape=tuple(shape))


def open_npy(folder: Path) -> np.ndarray:
    return np.load(folder / "matrix.npy", mmap_mode="r")


def open_arrow(folder: Path) -> np.ndarray:
    column = pa.ipc.open_file(pa.memory_map(str(folder / "matrix.arrow"))).get_batch(0).column("vector")
    return column.values.to_numpy(zero_copy_only=True).reshape(-1, DIM)


def batches_of(opened: Callable[[Path], np.ndarray], folder: Path, count: int) -> Callable[[], float]:
    """Return rows/s of opening a matrix and gathering `count` random batches of it."""

    def work() -> None:
        matrix, rng = opened(folder), np.random.default_rng(1)
        for _ in range(count):
            np.asarray(matrix[rng.integers(0, len(matrix), BATCH)], dtype=np.float32)

    return lambda: count * BATCH / seconds(work)


def table_sides(folder: Path, rows: int) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return writers of an out-of-fold table; rows/s each."""
    values = np.random.default_rng(0).dirichlet(np.ones(CLASSES), rows).astype(np.float32)
    ids = [f"product-{row}" for row in range(rows)]

    def own() -> None:
        frame = pl.DataFrame(
            {"id": ids, "probabilities": values}, schema_overrides={"probabilities": pl.Array(pl.Float32, CLASSES)}
        )
        frame.write_parquet(folder / "own.parquet", compression="zstd", compression_level=3)

    def peer() -> None:
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), CLASSES)
        table = pa.table({"id": pa.array(ids), "probabilities": column})
        pq.write_table(table, folder / "peer.parquet", compression="zstd", compression_level=3)

    return lambda: rows / seconds(own), lambda: rows / seconds(peer)


def block_sides(folder: Path, rows: int) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return readers of a table's probabilities by blocks, whose row groups are these blocks; rows/s each."""
    path, step = folder / "blocks.parquet", min(rows // 10, block_rows(CLASSES))
    values = np.random.default_rng(0).dirichlet(np.ones(CLASSES), rows).astype(np.float32)
    pl.DataFrame({"probabilities": values}, schema={"probabilities": pl.List(pl.Float32)}).write_parquet(
        path, compression="zstd", compression_level=3, row_group_size=step
    )

    def own() -> None:
        table = pl.scan_parquet(path)
        blocks = (table.slice(start, step).collect()["probabilities"] for start in range(0, rows, step))
        assert sum(len(block.list.to_array(CLASSES).to_numpy()) for block in blocks) == rows

    def peer() -> None:
        blocks = (batch.column(0) for batch in pq.ParquetFile(path).iter_batches(step))
        assert sum(len(block.values.to_numpy().reshape(-1, CLASSES)) for block in blocks) == rows

    return lambda: rows / seconds(own), lambda: rows / seconds(peer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    count, repetitions = (500, 2) if quick else (5_000, 7)
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own, peer = interleaved(repetitions, *tar_sides(folder, count))
        ratios.append(Ratio("members of a tar against webdataset.TarWriter", "photos/s", own, peer, "-"))
        own, peer = interleaved(repetitions, *pass_sides(folder, count))
        ratios.append(Ratio("a pass over all photos against webdataset's reader", "photos/s", own, peer, "-"))
        with remote_sides(folder / "shards") as sides:
            own, peer = interleaved(repetitions, *sides)
        ratios.append(Ratio("the same from a local S3 server", "photos/s", own, peer, "-"))
        write_matrices(folder, 20 * count)
        sides = [batches_of(opened, folder, count // 5) for opened in (open_npy, open_arrow, open_safetensors)]
        npy, arrow, former = interleaved(repetitions, *sides)
        ratios.append(Ratio("random batches of a mapped .npy against safetensors", "rows/s", npy, former, ".95"))
        ratios.append(Ratio("random batches of mapped Arrow against safetensors", "rows/s", arrow, former, ".95"))
        own, peer = interleaved(repetitions, *table_sides(folder, 10 * count))
        ratios.append(Ratio("an out-of-fold table by polars against pyarrow", "rows/s", own, peer, "-"))
        own, peer = interleaved(repetitions, *block_sides(folder, 10 * count))
        ratios.append(Ratio("a pass over its blocks by polars against pyarrow", "rows/s", own, peer, "-"))
    about = "Formats, one process, files in the page cache (`bench/formats.py` says what is compared)."
    report("Formats", about, ratios, quick)


if __name__ == "__main__":
    main()

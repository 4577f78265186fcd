"""`vitrine serve` against a plain FastAPI + FAISS + model loop, with 20 users at once, on the sample's index.

    python bench/serve.py [--quick] [--project FOLDER]    (a project after `dvc repro`; default: this one)

A user asks again as soon as the answer has come (closed loop), one of the sample's twenty queries. Neither side caches
anything, so each request runs the text tower. Both servers return 24 products. Then start-up, and a catalogue of
100,000 products.
"""

import argparse
import asyncio
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import polars as pl
import psutil
from results import Ratio, interleaved, report

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.params.index import IndexParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.retrieval.faiss_index import MANIFEST, Fingerprints, build_index

USERS, K = 20, 24
MANY = 100_000
QUERIES = Path(__file__).parents[1] / "data/sample/shop/search_queries.csv"
PLAIN = Path(__file__).with_name("plain_server.py").resolve()


@dataclass(frozen=True)
class Load:
    """Milliseconds of each request, sorted, and requests a second."""

    milliseconds: list[float]
    rate: float

    def percentile(self, share: float) -> float:
        """Return the time that this share of the requests did not exceed."""
        return self.milliseconds[min(len(self.milliseconds) - 1, int(share * len(self.milliseconds)))]

    def line(self) -> str:
        """Return p50, p99 and the rate in words."""
        return f"p50 {self.percentile(0.5):.1f} ms, p99 {self.percentile(0.99):.1f} ms, {self.rate:,.0f} requests/s"


def queries() -> Iterator[str]:
    """Yield the short queries of the sample, as people type them in both languages, in random order without end."""
    texts = pl.read_csv(QUERIES)["query"].to_list()
    chosen = random.Random(0)
    while True:
        yield chosen.choice(texts)


async def _user(port: int, texts: Iterator[str], end: float, times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < end:
        start = time.perf_counter()
        writer.write(f"GET /api/search?k={K}&q={quote(next(texts))} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        await reader.readexactly(length)
        times.append(1_000 * (time.perf_counter() - start))
    writer.close()


def load(port: int, seconds: float, users: int = USERS) -> Load:
    """Send texts by `users` closed loops for some seconds; an answer other than 200 is an error."""

    async def run() -> list[float]:
        times: list[float] = []
        texts, end = queries(), time.perf_counter() + seconds
        await asyncio.gather(*(_user(port, texts, end, times) for _ in range(users)))
        return times

    start = time.perf_counter()
    times = asyncio.run(run())
    return Load(sorted(times), len(times) / (time.perf_counter() - start))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(project: Path, command: list[str], port: int) -> Iterator[tuple[psutil.Process, float]]:
    """Start a server in a project; yield its process and the seconds until its first answer to a text."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=project, stderr=subprocess.DEVNULL, env={**os.environ})
    try:
        while True:
            assert process.poll() is None, command
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                    connection.sendall(b"GET /api/search?q=red+mug HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
                    if connection.recv(100).startswith(b"HTTP/1.1 200"):
                        break
            except OSError:
                time.sleep(0.02)
        yield psutil.Process(process.pid), time.perf_counter() - start
    finally:
        process.terminate()
        process.wait()


def vitrine(port: int) -> list[str]:
    code = "from pipeline_lib.cli.main import main; main()"
    return [sys.executable, "-c", code, "serve", "--listen", str(port), "--judgements", "none"]


def write_large(project: Path, large: Path) -> None:
    """Write a project with the same model and 100,000 products: random unit vectors, and the sample's texts."""
    work = large / paths.WORK
    work.mkdir(parents=True)
    shutil.copy(project / "params.yaml", large)
    for name in (paths.TRAIN, paths.SHARDS, Path("data/sample")):
        (large / name).symlink_to((project / name).resolve())
    (large / paths.CATALOGUE).mkdir()
    small = pl.read_parquet(project / paths.CATALOGUE / "products.parquet")
    rows = np.arange(MANY) % len(small)
    ids = [f"p{number:06d}" for number in range(MANY)]
    products = small[rows].with_columns(product_id=pl.Series(ids), group_id=pl.Series(ids))
    products.write_parquet(large / paths.CATALOGUE / "products.parquet")
    index = project / paths.index_of("flat", 0)
    manifest = read_object(index / MANIFEST)
    dim = manifest["dim"]
    vectors = np.random.default_rng(0).standard_normal((MANY, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    source = Fingerprints(manifest["model"], manifest["preprocessing"])
    params = parse_section(IndexParams, load_params(project / "params.yaml"))
    build_index(large / paths.index_of("flat", 0), "flat", ids, vectors, source, params)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--project", type=Path, default=Path())
    options = parser.parse_args()
    project, seconds, repetitions = options.project.resolve(), *((2.0, 1) if options.quick else (8.0, 5))
    ports = free_port(), free_port()
    ours_command = vitrine(ports[0])
    plain_command = [sys.executable, str(PLAIN), str(ports[1])]
    measured: dict[int, list[Load]] = {0: [], 1: []}
    with (
        serving(project, ours_command, ports[0]) as (_, started),
        serving(project, plain_command, ports[1]) as (_, peer_started),
    ):
        alone = load(ports[0], seconds, users=1)

        def side(number: int) -> float:
            measured[number].append(load(ports[number], seconds))
            return measured[number][-1].rate

        side(0), side(1)
        measured = {0: [], 1: []}
        rates = interleaved(repetitions, lambda: side(0), lambda: side(1))
    for number, name in enumerate(("vitrine serve", "plain server")):
        for one in measured[number]:
            print(f"{name}, {USERS} users: {one.line()}")
    print(f"vitrine serve, 1 user: {alone.line()}")
    with tempfile.TemporaryDirectory() as folder:
        write_large(project, Path(folder))
        with serving(Path(folder), vitrine(ports[0]), ports[0]) as (process, large_started):
            load(ports[0], 1.0)
            many_alone, many = load(ports[0], seconds, users=1), load(ports[0], seconds)
            memory = process.memory_info().rss
    print(
        f"{MANY:,} products: 1 user {many_alone.line()}; {USERS} users {many.line()}; {memory / 1e6:,.0f} MB resident"
    )
    middle = statistics.median
    p50, p99 = (middle(one.percentile(share) for one in measured[0]) for share in (0.5, 0.99))
    alone_50, many_50, many_alone_50 = (one.percentile(0.5) for one in (alone, many, many_alone))
    about = (
        f"{USERS} closed-loop users, {K} products an answer, no cache, no error. On the "
        f"sample: p50 {p50:.1f} ms, p99 {p99:.1f} ms (goal 25 and 80); 1 user p50 {alone_50:.1f} ms. From the start of "
        f"the process to the first answer {started:.1f} s (goal 5). {MANY:,} products: p50 {many_50:.1f} ms with "
        f"{USERS} users, {many_alone_50:.1f} ms with 1 (goal 60), {memory / 1e6:,.0f} MB resident, "
        f"{large_started:.1f} s to the first answer."
    )
    ratios = [
        Ratio("text search, against FastAPI + FAISS + model", "requests/s", *rates, "3"),
        Ratio("start to first answer", "s", [started], [peer_started], "-", lower_is_better=True),
        *(
            Ratio(f"p{share * 100:.0f} of a text search", "ms", *(
                [one.percentile(share) for one in measured[number]] for number in (0, 1)), "-", lower_is_better=True)
            for share in (0.5, 0.99)
        ),
    ]  # fmt: skip
    report("Search server", about, ratios, options.quick)


if __name__ == "__main__":
    main()

"""Every parallel backend writes the same files: processes of this machine, a separate Ray cluster, and Dask."""

import importlib
import inspect
import os
import pickle
import pkgutil
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline_lib.artifacts.digests import digest_folder
from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.catalogue.cleaning import check_all_photos
from pipeline_lib.catalogue.tables import write_catalogue
from pipeline_lib.datasets.readers import READERS
from pipeline_lib.execution import parallel
from pipeline_lib.execution.parallel import ClusterTask, Failed, map_parallel
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.clip_reader import ClipReader
from pipeline_lib.shards.frames import write_frames
from pipeline_lib.shards.write import list_photos, write_shards

ROOT = Path(__file__).parents[2]
NUM_PRODUCTS = 150  # two tasks of photo checks

# Ray and Dask close sockets only in garbage collection.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch) -> Path:
    """A small shop with every kind of photo, good and bad; its folder is the working folder."""
    images = tmp_path / "raw" / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(NUM_PRODUCTS):
        pixels = rng.integers(0, 256, (12 + number % 30, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.{'jpg' if number % 3 else 'png'}")
    encoded = (images / "1.jpg").read_bytes()
    (images / "1.jpg").write_bytes(encoded[: len(encoded) // 2])
    (images / "2.jpg").write_bytes(b"no image")
    Image.new("RGB", (300, 300)).save(images / "4.jpg")
    for number in range(3):
        first, *rest = (Image.fromarray(rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)) for _ in range(4 + number))
        first.save(tmp_path / "raw" / f"{number}.gif", save_all=True, append_images=rest, duration=100)
    rows = [f"{number},red {number % 40},{number % 4}" for number in [*range(NUM_PRODUCTS), 999]]
    (tmp_path / "raw" / "shop.csv").write_text("\n".join(["id,title,label", *rows]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def ray_address(tmp_path_factory):
    """A real cluster of one machine with two workers, started in another folder, with an authentication token."""
    with pytest.MonkeyPatch.context() as patch, socket.socket() as free:
        for name, value in (("MODE", "token"), ("TOKEN", uuid.uuid4().hex + uuid.uuid4().hex)):
            patch.setenv(f"RAY_AUTH_{name}", value)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        pytest.importorskip("ray", reason="pip install 'vitrine[ray]'")
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        ray = [sys.executable, "-m", "ray.scripts.scripts"]
        start = [*ray, "start", "--head", "--block", f"--port={address.rpartition(':')[2]}", "--num-cpus=2"]
        start += ["--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--object-store-memory={100 * 2**20}"]
        # No process for what no test uses: 1 of the cluster's 6 s of CPU.
        start += ["--no-monitor", "--include-log-monitor=false"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        log = tmp_path_factory.mktemp("ray") / "log"
        with log.open("wb") as out:
            head = subprocess.Popen(start, cwd="/", env=environment, stdout=out, stderr=out, start_new_session=True)
        try:
            end = time.monotonic() + 120
            while "Ray runtime started." not in log.read_text(encoding="utf-8"):
                assert head.poll() is None and time.monotonic() < end, log.read_text(encoding="utf-8")
                time.sleep(0.05)
            yield address
        finally:
            os.killpg(head.pid, signal.SIGKILL)  # SIGTERM would take half a minute
            head.wait()


@pytest.fixture
def ray_cluster(ray_address, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", ray_address)


@pytest.fixture(scope="module")
def dask_workers():
    """One worker process with two threads, whose tasks must not run at the same time."""
    distributed = pytest.importorskip("distributed", reason="pip install 'vitrine[dask]'")
    # A port of its own: the cluster of another test takes the usual one.
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


@pytest.fixture
def dask_cluster(dask_workers):
    with importlib.import_module("distributed").Client(dask_workers):
        yield


def build_and_hash(kind: str, name: str) -> str:
    """Build a catalogue, its shards and frames of clips with a backend, and return the hash of all files."""
    params = load_params(ROOT / "params.yaml")
    params["data"] |= {"root": "raw", "max_pixels": 80_000}
    data = parse_section(DataParams, params)
    out = Path(name).resolve()  # loky's workers stay in the folder of the test that started them
    for folder in ("catalogue", "shards", "frames"):
        (out / folder).mkdir(parents=True)
    catalogue = build_catalogue(READERS["csv_table"](data), data, 2, kind)
    assert {"missing image", "truncated image", "not an image", "too many pixels"} <= set(catalogue.rejects["reason"])
    write_catalogue(out / "catalogue", catalogue)
    shards = ShardsParams(size=16, quality=90, photos_per_shard=20, colour_profile="convert")
    write_shards(list_photos(catalogue.media), Path("raw").resolve(), shards, out / "shards", 2, kind)
    frames = FramesParams(count=4, sampling="uniform", fps=1.0)
    reader = ClipReader(Path("raw").resolve(), frames, shards.size, shards.quality, data.max_pixels, ())
    meta = write_frames([f"{number}.gif" for number in range(3)], reader, 2, out / "frames", 2, kind)
    assert (meta["used"], meta["frames"]) == (3, 12)
    return digest_folder(out)


@pytest.mark.parametrize("kind", ["ray", "dask"])
def test_a_cluster_writes_the_same_files(kind, shop, request):
    expected = build_and_hash("loky", "here")
    request.getfixturevalue(f"{kind}_cluster")
    assert build_and_hash(kind, "there") == expected
    assert sorted(path.name for path in Path("there/shards").iterdir()) == sorted(
        path.name for path in Path("here/shards").iterdir()
    )


@pytest.mark.parametrize("kind", ["ray", "dask"])
def test_a_task_raises_its_own_error_and_a_wrong_machine_is_named(kind, shop, request, monkeypatch):
    request.getfixturevalue(f"{kind}_cluster")
    media = pl.DataFrame({"product_id": ["a", "b"], "media": [["images/0.png"], ["images/2.jpg"]]})
    (shop / "out").mkdir()
    with pytest.raises(ValueError, match=r"^raw/images/2\.jpg: photo 0 of product 'b' changed") as caught:
        write_shards(
            list_photos(media),
            Path("raw"),
            ShardsParams(size=16, quality=90, photos_per_shard=1, colour_profile="convert"),
            Path("out"),
            2,
            kind,
        )
    assert "\n" not in str(caught.value)
    if kind == "dask":  # one backend is enough, because the task itself checks this; Ray takes seconds to start
        with pytest.raises(TypeError) as bug:
            list(map_parallel(len, [[], 3], 2, kind))
        assert "Traceback" in bug.value.__notes__[0]
        with pytest.raises(OSError, match="none: no such folder on .* at the same path"):
            check_all_photos(Path("none"), ["images/0.png"], 10**6, 2, kind)
    monkeypatch.setattr(parallel, "code_identity", lambda: "other")
    with pytest.raises(OSError, match="its worker has other code.* check out the same commit"):
        list(map_parallel(len, [[]], 2, kind))


def test_results_keep_their_order_over_several_rounds(request, shop, monkeypatch):
    request.getfixturevalue("dask_cluster")
    monkeypatch.setattr(parallel, "TASKS_PER_ROUND", 3)
    taken = []
    results = map_parallel(abs, (taken.append(n) or -n for n in range(20)), 2, "dask")
    assert [next(results) for _ in range(6)] == list(range(6)) and len(taken) == 6
    assert list(results) == list(range(6, 20))


def test_without_a_cluster_a_local_one_is_started_and_closed(shop, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    assert list(map_parallel(abs, [-1, 2], 1, "dask")) == [1, 2]
    with pytest.raises(ValueError, match="No"):
        distributed.get_client()


@pytest.mark.parametrize(("kind", "module"), [("ray", "ray"), ("dask", "distributed")])
def test_a_missing_library_is_one_line(kind, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"runtime.parallel = '{kind}', .* pip install 'vitrine\[{kind}\]'"):
        list(map_parallel(abs, [1], 2, kind))


def test_a_task_runs_in_the_stages_folder_and_returns_its_error(tmp_path):
    def working_folder(item: int) -> str:
        if item:
            raise ValueError(f"{item} is bad")
        return str(Path.cwd())

    task = ClusterTask(working_folder, tmp_path, (), parallel.code_identity())
    before = Path.cwd()
    assert task(0) == str(tmp_path) and Path.cwd() == before
    failed = task(7)
    assert isinstance(failed, Failed) and str(failed.error) == "7 is bad"
    elsewhere = ClusterTask(partial(int), tmp_path / "gone", (), parallel.code_identity())(1)
    assert str(elsewhere.error).startswith(f"{tmp_path}/gone: no such folder on ")


def errors_of_ours() -> list[type[Exception]]:
    """The classes of exceptions that pipeline_lib defines."""
    found = []
    for module in pkgutil.walk_packages([str(ROOT / "pipeline_lib")], "pipeline_lib."):
        source = (ROOT / module.name.replace(".", "/")).with_suffix(".py")
        if source.is_file() and re.search(r"^class \w+\(\w*(Error|Exception)\)", source.read_text("utf-8"), re.M):
            loaded = importlib.import_module(module.name)
            own = [value for value in vars(loaded).values() if getattr(value, "__module__", "") == module.name]
            found += [value for value in own if isinstance(value, type) and issubclass(value, Exception)]
    return found


def test_errors_survive_the_way_from_a_worker():
    """An error is built again from its arguments; one that cannot be ends a Dask run without an answer."""
    kinds = errors_of_ours()
    assert len(kinds) >= 2
    for kind in kinds:
        parameters = list(inspect.signature(kind.__init__).parameters)[1:]
        values = [pl.DataFrame({"row": [1]}) if name == "rejects" else f"the {name}" for name in parameters]
        error = kind(*values)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (kind, str(error))
        assert vars(again).keys() == vars(error).keys()

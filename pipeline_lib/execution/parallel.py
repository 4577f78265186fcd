"""Maps a function over items in worker processes of this machine (loky) or of a Ray or Dask cluster.

joblib runs all three backends, and results come in the order of the items, so the backend changes no byte. A worker of
a cluster may run other code or lack the data: each task first checks the code and the folders, and fails if they differ
from those of the stage. An exception of a task is raised here unchanged, without the cluster's wrapper.
"""

import hashlib
import importlib
import logging
import os
import platform
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, chdir, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from joblib import Parallel, delayed, parallel_config

from pipeline_lib.execution.owners import start_worker

# Libraries that determine the bytes of a stored photo, besides this project's code.
IMAGE_LIBRARIES = ("av", "cykooz-resizer", "numpy", "pillow", "simplejpeg")
# Tasks per worker of a cluster and round.
TASKS_PER_ROUND = 64
# Time limit for the first worker of a Dask cluster.
CONNECT_SECONDS = 60

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def map_parallel(
    function: Callable[[ItemT], ResultT],
    items: Iterable[ItemT],
    workers: int,
    parallel: str = "loky",
    needs: tuple[Path, ...] = (),
) -> Iterator[ResultT]:
    """Yield function(item) in the order of the items, computed by processes of this machine (loky) or by a cluster.

    With one loky worker the function runs in this process. On a cluster all its workers are used; `workers` is the size
    of a local cluster that is started if there is none. A cluster's task runs in this process's working folder, and the
    folders in `needs` must exist on its machine. Raises ValueError if the backend's library is not installed, OSError
    if the cluster does not answer or a worker has another project.
    """
    if parallel == "loky" and workers == 1:
        yield from map(function, items)
        return
    if parallel == "loky":
        # joblib hands these to loky.
        start = {"initializer": start_worker, "initargs": (os.getpid(),)}
        run = Parallel(n_jobs=workers, backend="loky", return_as="generator", **start)
        with _without_interrupts():  # the call starts the workers, which inherit this
            results = run(delayed(function)(item) for item in items)
        yield from results
        return
    task = ClusterTask(function, Path.cwd(), tuple(path.resolve() for path in needs), code_identity())
    waiting = iter(items)
    with CLUSTERS[parallel](workers) as jobs, _pool(parallel, jobs) as run:
        # Ray's pool returns a list, not a generator: rounds bound the memory at the cost of one wait per round.
        while batch := list(islice(waiting, TASKS_PER_ROUND * jobs)):
            for result in run(delayed(task)(item) for item in batch):
                if isinstance(result, Failed):
                    raise result.error
                yield result


@dataclass(frozen=True)
class Failed:
    """The exception of a task on another machine."""

    error: Exception


@dataclass(frozen=True)
class ClusterTask(Generic[ItemT, ResultT]):
    """A function that a cluster's worker runs in the stage's folder with the stage's code, one task at a time."""

    function: Callable[[ItemT], ResultT]
    folder: Path
    needs: tuple[Path, ...]
    code: str

    def __call__(self, item: ItemT) -> ResultT | Failed:
        """Return function(item), or its exception as Failed."""
        with _ONE_TASK:
            try:
                self._check_machine()
                with chdir(self.folder):
                    return self.function(item)
            except Exception as error:  # the cluster's library would wrap it
                if not isinstance(error, ValueError | OSError):
                    error.add_note(f"on {platform.node()}: {traceback.format_exc()}")
                return Failed(error)

    def _check_machine(self) -> None:
        for path in (self.folder, *self.needs):
            if not path.is_dir():
                raise OSError(
                    f"{path}: no such folder on {platform.node()}; a cluster's machines must share the project and its "
                    "data at the same path, or set runtime.parallel = loky"
                )
        if code_identity() != self.code:
            raise OSError(
                f"{platform.node()}: its worker has other code, or another version of {' or '.join(IMAGE_LIBRARIES)}, "
                "than this stage; check out the same commit, install constraints.txt and restart its workers"
            )


@cache
def code_identity() -> str:
    """Return a hash of the sources of pipeline_lib as imported here, and of the image libraries' versions."""
    total = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    total.update(repr([(name, _version(name)) for name in IMAGE_LIBRARIES]).encode())
    return total.hexdigest()


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:  # an optional library
        return None


# A Dask worker may run tasks in several threads, but the working folder, Pillow's limit and warnings are global.
_ONE_TASK = threading.Lock()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let a process that starts in the body ignore Ctrl-C, from its first moment on; one that arrives is held back.

    It is blocked as well as ignored: what is only ignored would be lost, and loky unblocks it when it starts its
    tracker of resources. A thread other than the main one can only block it.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pool(backend: str, jobs: int) -> Parallel:
    with parallel_config(backend=backend):
        return Parallel(n_jobs=jobs)


@contextmanager
def _ray(workers: int) -> Iterator[int]:
    ray = _library("ray", "ray")
    _library("ray", "ray.util.joblib").register_ray()
    is_owner = not ray.is_initialized()
    if is_owner:
        if "RAY_ADDRESS" in os.environ:  # read by Ray itself
            options: dict[str, Any] = {}
        else:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            options = {"address": "local", "num_cpus": workers, "include_dashboard": False}
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
    try:
        yield int(ray.cluster_resources()["CPU"])
    finally:
        if is_owner:
            ray.shutdown()


@contextmanager
def _dask(workers: int) -> Iterator[int]:
    dask, distributed = _library("dask", "dask"), _library("dask", "distributed")
    try:
        client, is_owner = distributed.get_client(), False
    except ValueError:  # no client yet
        # Dask fills this setting from the variable DASK_SCHEDULER_ADDRESS.
        address = dask.config.get("scheduler-address", None)
        local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
        client, is_owner = distributed.Client(**({"address": address} if address else local)), True
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        yield sum(client.ncores().values())
    finally:
        if is_owner:
            client.close()


def _library(extra: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ValueError(
            f"params.yaml: runtime.parallel = {extra!r}, which is not installed: pip install 'vitrine[{extra}]', or "
            "write loky"
        ) from None


# joblib's name of the backend -> function(workers to start if there is no cluster) -> a context manager that connects
# to the cluster and yields its number of workers. The keys are all values of runtime.parallel besides loky.
CLUSTERS: dict[str, Callable[[int], AbstractContextManager[int]]] = {"ray": _ray, "dask": _dask}

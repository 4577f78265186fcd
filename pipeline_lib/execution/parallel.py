"""Maps a function over items in worker processes: of this machine (loky), or of a Ray or Dask cluster.

joblib runs all three, and results come in the items' order, so who worked shows in no byte. Workers of a cluster are
nobody's children here: each first says which code it holds and what it sees of the project's folders, and is refused
if that is not what the stage has. What a task raises comes back as it was, not in a cluster's wrapping of it.
"""

import hashlib
import importlib
import logging
import os
import platform
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

from pipeline_lib.execution.stage import die_with_parent

# What a photo's bytes are made by, besides this project's code.
MAKERS = ("cykooz-resizer", "numpy", "pillow", "simplejpeg")
# For each worker of a cluster.
TASKS_A_ROUND = 64
ANSWER_SECONDS = 60

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def map_parallel(
    function: Callable[[ItemT], ResultT],
    items: Iterable[ItemT],
    workers: int,
    parallel: str = "loky",
    needs: tuple[Path, ...] = (),
) -> Iterator[ResultT]:
    """Yield function(item) in the items' order, computed by processes of this machine (loky) or a cluster's workers.

    One loky worker is this process. A cluster gives as many workers as it has; `workers` is the size of one that must
    be started first. There each task begins in this process's folder, and `needs` are folders that must be there too.
    Raises ValueError for a library that is not installed, OSError for a cluster that does not answer or a worker that
    sees another project.
    """
    if parallel == "loky" and workers == 1:
        yield from map(function, items)
        return
    if parallel == "loky":
        run = Parallel(n_jobs=workers, backend="loky", return_as="generator")
        yield from run(delayed(_in_child)(function, item) for item in items)
        return
    task = ClusterTask(function, Path.cwd(), tuple(path.resolve() for path in needs), code_identity())
    waiting = iter(items)
    with CLUSTERS[parallel](workers) as jobs, _pool(parallel, jobs) as run:
        # In rounds, for Ray's pool gives a list and no generator: memory stays bounded, one task in so many is a wait.
        while round_of := list(islice(waiting, TASKS_A_ROUND * jobs)):
            for result in run(delayed(task)(item) for item in round_of):
                if isinstance(result, Failed):
                    raise result.error
                yield result


@dataclass(frozen=True)
class Failed:
    """What a task raised on another machine."""

    error: Exception


@dataclass(frozen=True)
class ClusterTask(Generic[ItemT, ResultT]):
    """A function as a cluster's worker runs it: in the stage's folder, with the stage's code, one at a time."""

    function: Callable[[ItemT], ResultT]
    folder: Path
    needs: tuple[Path, ...]
    code: str

    def __call__(self, item: ItemT) -> ResultT | Failed:
        """Return function(item), or what it raised."""
        with _ONE_TASK:
            try:
                self._check_machine()
                with chdir(self.folder):
                    return self.function(item)
            except Exception as error:  # a cluster's library would wrap it
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
                f"{platform.node()}: its worker holds other code, or another version of {' or '.join(MAKERS)}, than "
                "this stage; check out the same commit, install constraints.txt and start its workers again"
            )


@cache
def code_identity() -> str:
    """Return a hash of this package's sources as imported here, and of the versions that make a photo's bytes."""
    total = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    total.update(repr([(name, _version(name)) for name in MAKERS]).encode())
    return total.hexdigest()


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:  # what makes bytes where it is, and need not be everywhere
        return None


# A Dask worker may run tasks in several threads, and the folder, Pillow's limit and warnings belong to the process.
_ONE_TASK = threading.Lock()


def _in_child(function: Callable[[ItemT], ResultT], item: ItemT) -> ResultT:
    die_with_parent()
    return function(item)


def _pool(backend: str, jobs: int) -> Parallel:
    with parallel_config(backend=backend):
        return Parallel(n_jobs=jobs)


@contextmanager
def _ray(workers: int) -> Iterator[int]:
    ray = _library("ray", "ray")
    _library("ray", "ray.util.joblib").register_ray()
    begun = not ray.is_initialized()
    if begun:
        if "RAY_ADDRESS" in os.environ:  # Ray's own variable: it connects there without being told
            there: dict[str, Any] = {}
        else:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            there = {"address": "local", "num_cpus": workers, "include_dashboard": False}
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **there)
    try:
        yield int(ray.cluster_resources()["CPU"])
    finally:
        if begun:
            ray.shutdown()


@contextmanager
def _dask(workers: int) -> Iterator[int]:
    dask, distributed = _library("dask", "dask"), _library("dask", "distributed")
    try:
        client, begun = distributed.get_client(), False
    except ValueError:  # there is none yet
        # DASK_SCHEDULER_ADDRESS is Dask's own variable for this setting.
        address = dask.config.get("scheduler-address", None)
        local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
        client, begun = distributed.Client(**({"address": address} if address else local)), True
    try:
        client.wait_for_workers(1, timeout=ANSWER_SECONDS)
        yield sum(client.ncores().values())
    finally:
        if begun:
            client.close()


def _library(extra: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ValueError(
            f"params.yaml: runtime.parallel = {extra!r}, which is not installed: pip install 'vitrine[{extra}]', or "
            "write loky"
        ) from None


# Contract: (workers to start where there is no cluster yet) -> a context that holds the cluster and gives the number of
# its workers; the name is joblib's for it. All that runtime.parallel may name besides loky.
CLUSTERS: dict[str, Callable[[int], AbstractContextManager[int]]] = {"ray": _ray, "dask": _dask}

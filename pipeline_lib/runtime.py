"""What the machine offers: workers and devices, read from the untracked `runtime` section."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from joblib import Parallel, delayed

from pipeline_lib.params.runtime import RuntimeParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.provenance import die_with_parent

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def read_runtime() -> RuntimeParams:
    """Return the runtime section of params.yaml."""
    return parse_section(RuntimeParams, load_params())


def map_parallel(function: Callable[[ItemT], ResultT], items: Iterable[ItemT], workers: int) -> Iterator[ResultT]:
    """Yield function(item) in the items' order, computed by worker processes; one worker stays in this process."""
    if workers == 1:
        yield from map(function, items)
        return
    tasks = (delayed(_in_worker)(function, item) for item in items)
    yield from Parallel(n_jobs=workers, backend="loky", return_as="generator")(tasks)


def _in_worker(function: Callable[[ItemT], ResultT], item: ItemT) -> ResultT:
    die_with_parent()
    return function(item)


def pick_device(wanted: str) -> str:
    """Return `cuda` or `cpu`; `auto` takes the GPU where there is one."""
    import torch  # slow to import, and stages without a model never need it

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("params.yaml: runtime.device = 'cuda', but no CUDA device is visible; write auto or cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"

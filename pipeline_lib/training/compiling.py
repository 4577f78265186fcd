"""torch.compile of the towers, a fact of the machine: the same numbers to rounding, in fewer and larger kernels.

Each tower is compiled for itself and in place, so its parameters keep their names, and what is saved is what a plain
run saves. Texts differ in length from batch to batch: after the second length one graph serves them all.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline_lib.models.multimodal import ImageTextModel

BACKEND = "inductor"
OFF = "set runtime.compile = false"


def compile_towers(model: ImageTextModel) -> None:
    """Have each tower compiled at its first call; ValueError for early fusion, which calls them for their tokens."""
    if model.fusion is not None:
        raise ValueError(f"runtime.compile = true does not go with model.fusion = early, which is not compiled; {OFF}")
    for tower in model.towers().values():
        tower.compile(backend=BACKEND)


@contextmanager
def named_compile_failures() -> Iterator[None]:
    """Turn the compiler's failures into a ValueError of one line."""
    from torch._dynamo.exc import TorchDynamoException  # a second

    try:
        yield
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)  # what the backend raised
        first = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise ValueError(
            f"runtime.compile = true: torch cannot compile a tower here ({first.strip()}); {OFF}"
        ) from error

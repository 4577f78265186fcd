"""torch.compile of the towers: the same numbers up to rounding, in fewer and larger kernels.

Each tower is compiled in place, so its parameters keep their names, and the saved model is that of a run without
compilation. The length of the texts differs between batches: after the second length, one graph serves all lengths.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline_lib.models.multimodal import ImageTextModel

BACKEND = "inductor"
OFF = "set runtime.compile = false"


def compile_towers(model: ImageTextModel) -> None:
    """Compile each tower at its first call; ValueError for early fusion, which calls other methods of the towers."""
    if model.fusion is not None:
        raise ValueError(f"runtime.compile = true does not support model.fusion = early; {OFF}")
    for tower in model.towers().values():
        tower.compile(backend=BACKEND)


@contextmanager
def named_compile_failures() -> Iterator[None]:
    """Raise the compiler's errors as a ValueError of one line."""
    from torch._dynamo.exc import TorchDynamoException  # takes a second to import

    try:
        yield
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)  # the backend's own error
        first = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise ValueError(
            f"runtime.compile = true: torch cannot compile a tower here ({first.strip()}); {OFF}"
        ) from error

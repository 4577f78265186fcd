"""Machine facts that no cache depends on."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section


class RuntimeParams(Section):
    """Workers, device, batch of inference, and what speeds a run up without changing what it computes."""

    section: ClassVar[str] = "runtime"
    workers: Annotated[int, Field(ge=1)]
    device: Literal["auto", "cpu", "cuda"]
    batch_size: Annotated[int, Field(gt=0)]
    log_every: Annotated[int, Field(gt=0)]
    compile: bool
    cache_gb: Annotated[float, Field(ge=0)]

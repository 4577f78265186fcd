"""Machine facts that no cache depends on."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section

ParallelKind = Literal["loky", "ray", "dask"]
# Where the same files lie too, for fsspec: s3://bucket/folder and the like.
Url = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://.")]


class RuntimeParams(Section):
    """Workers, devices and places of files: what differs between machines and changes nothing that is computed."""

    section: ClassVar[str] = "runtime"
    workers: Annotated[int, Field(ge=1)]
    parallel: ParallelKind
    device: Literal["auto", "cpu", "cuda"]
    batch_size: Annotated[int, Field(gt=0)]
    log_every: Annotated[int, Field(gt=0)]
    compile: bool
    cache_gb: Annotated[float, Field(ge=0)]
    shards_url: Url | None
    features_url: Url | None

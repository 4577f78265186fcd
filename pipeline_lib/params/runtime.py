"""Settings of the machine, which no cache depends on."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section

ParallelKind = Literal["loky", "ray", "dask"]
LoggerKind = Literal["tensorboard", "mlflow", "wandb", "trackio"]
# A URL that fsspec can read: s3://bucket/folder and the like.
Url = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://.")]


class RuntimeParams(Section):
    """Settings of this machine. DVC does not track them: they may differ between machines without a rerun."""

    section: ClassVar[str] = "runtime"
    workers: int = Field(ge=1, le=1024, description="Processes that check and decode images.")
    parallel: ParallelKind = Field(
        description="What runs these processes in catalogue and shards: loky (this machine) | ray | dask (a cluster at "
        "RAY_ADDRESS or DASK_SCHEDULER_ADDRESS, otherwise a local one)."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(description="auto (cuda if there is a GPU) | cpu | cuda.")
    batch_size: int | None = Field(
        gt=0, description="Images or texts per forward pass in inference; null = 256 on a GPU, 64 on a CPU."
    )
    log_every: int = Field(gt=0, description="Steps between two points of a training curve.")
    logger: LoggerKind = Field(
        description="What training writes its curves for: tensorboard | mlflow | wandb | trackio. All write below "
        "logs/; the last three are extras: pip install 'vitrine[mlflow]'."
    )
    compile: bool = Field(
        description="true = torch.compile of the towers in training: faster steps on a GPU after a minute or more of "
        "compiling. It needs a C++ compiler; results are equal up to rounding."
    )
    cache_gb: float = Field(
        ge=0,
        description="Memory for decoded images of a fixed view in training, shared by all workers, in GB; 0 = decode "
        "them in each epoch.",
    )
    shards_url: Url | None = Field(
        description="URL of a copy of data/work/shards to read instead (s3://bucket/folder); null = off."
    )
    features_url: Url | None = Field(description="URL of a copy of data/work/features to read instead; null = off.")

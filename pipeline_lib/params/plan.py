"""Which members the DAG's matrix stages have."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Keys, Section

IndexKind = Literal["flat", "ivf", "hnsw", "ivf_pq"]
# The towers of `model` as they are before training; every other name is a teacher, a folder of data/starts.
TRUNK = "trunk"
FeatureName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class PhaseStep(Keys):
    """A phase before the last one, and the phase it goes on from."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    after: str


class PlanParams(Section):
    """The lists that dvc.yaml's matrices read."""

    section: ClassVar[str] = "plan"
    last: str
    phases: list[PhaseStep]
    folds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    scales: list[Annotated[int, Field(gt=0)]] = Field(min_length=1)
    features: list[FeatureName]
    index: list[IndexKind]

"""Which members the DAG's matrix stages have."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.composed import ComposedKind
from pipeline_lib.params.section import Keys, Section, load_params, parse_section
from pipeline_lib.params.values import Pixels

IndexKind = Literal["flat", "ivf", "hnsw", "ivf_pq"]
# The towers of `model` before training.
TRUNK = "trunk"
TeacherName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class PhaseStep(Keys):
    """One item of plan.phases: a training phase before the last, and the phase that it starts from."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        max_length=100,
        description="Name of the phase; `phases` has its settings under this name.",
    )
    after: str = Field(max_length=100, description="The phase before it; none for the first.")


class PlanParams(Section):
    """Stages of the DAG: one for each item of these lists; an empty list removes the stage."""

    section: ClassVar[str] = "plan"
    last: str = Field(
        max_length=100, description="The phase that `train` starts from, the last of plan.phases; none without phases."
    )
    phases: list[PhaseStep] = Field(
        description="Training phases before the last, in order: [{name: head, after: none}, {name: top, after: head}]."
    )
    folds: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1, description="Folds to train, each in 0 .. split.num_folds - 1."
    )
    scales: list[Pixels] = Field(min_length=1, description="Image sizes in pixels at which the trained models predict.")
    features: list[Literal["trunk"]] = Field(
        description="[trunk] = the features of the towers of `model` before training are stored, [] = they are not."
    )
    teachers: list[TeacherName] = Field(
        description="Teachers whose outputs are stored: NAME is the one in data/starts/NAME."
    )
    frames: list[Literal["clips"]] = Field(
        description="[clips] = frames are read from the clips of the catalogue, [] = it has photos alone."
    )
    search: list[Annotated[int, Field(ge=0)]] = Field(
        description="Folds of plan.folds whose models get a search index of all products; [] = no search."
    )
    index: list[IndexKind] = Field(
        description="FAISS indexes of each fold of plan.search: flat | ivf | hnsw | ivf_pq (compressed)."
    )
    judged: list[Annotated[int, Field(ge=0)]] = Field(
        description="Folds of plan.search whose models are measured by the thumbs of the search page, the .csv files "
        "in data/judgements; [] = none."
    )
    composed: list[ComposedKind] = Field(
        description="Models for composed queries (a product and a sentence that changes it), trained for each fold: "
        "sum (the sum of image and text) | combiner (CLIP4Cir's network of both) | q_former (SPRC's Q-Former, "
        "which reads image tokens)."
    )


def planned_scales() -> tuple[int, ...]:
    """Return plan.scales, for a check before training; training does not depend on it, so it is no param of a stage."""
    return tuple(parse_section(PlanParams, load_params()).scales)

"""How predictions of folds, scales and other experiments are fused."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section

PredictionFormat = Literal["none", "muge", "chinese_clip"]
MeanKind = Literal["arithmetic", "geometric"]


class EnsembleParams(Section):
    """How class probabilities are fused, and what is kept of the fused predictions."""

    section: ClassVar[str] = "ensemble"
    mean: MeanKind
    weights: Literal["uniform", "fitted"]
    temperature: Literal["none", "fitted"]
    fuse_with: str
    depth: Annotated[int, Field(gt=0)]
    predictions: PredictionFormat

"""How embeddings become an index, a fused ranking and figures with intervals."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section

ProtocolName = Literal["catalogue", "muge", "five_caption", "row_paired"]
PredictionFormat = Literal["none", "muge", "chinese_clip"]
MeanKind = Literal["arithmetic", "geometric"]


class IndexParams(Section):
    """Sizes of the approximate FAISS indexes; `flat` needs none."""

    section: ClassVar[str] = "index"
    lists: Annotated[int, Field(gt=0)]
    probes: Annotated[int, Field(gt=0)]
    pq_bytes: Annotated[int, Field(gt=0)]
    links: Annotated[int, Field(ge=2)]
    build_beam: Annotated[int, Field(gt=0)]
    search_beam: Annotated[int, Field(gt=0)]


class EnsembleParams(Section):
    """How class probabilities are fused, and what is kept of the fused predictions."""

    section: ClassVar[str] = "ensemble"
    mean: MeanKind
    weights: Literal["uniform", "fitted"]
    temperature: Literal["none", "fitted"]
    fuse_with: str
    depth: Annotated[int, Field(gt=0)]
    predictions: PredictionFormat


class EvaluateParams(Section):
    """How ranks are counted and the intervals made."""

    section: ClassVar[str] = "evaluate"
    protocol: ProtocolName
    bootstrap: Annotated[int, Field(ge=100)]

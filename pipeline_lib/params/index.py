"""The search indexes: what a product's vector is, and the sizes of the FAISS indexes."""

from typing import ClassVar

from pydantic import Field

from pipeline_lib.params.section import Section


class IndexParams(Section):
    """What a product's vector is in a search index, and the sizes of the kinds of plan.index; `flat` needs none."""

    section: ClassVar[str] = "index"
    photo_weight: float = Field(
        ge=0,
        le=1,
        description="Weight of a product's photos in its vector; the rest is the weight of its text. 1 = photos alone, "
        "0 = texts alone. A product that has only one of them is found by that.",
    )
    lists: int = Field(gt=0, description="ivf and ivf_pq: number of lists that the vectors are clustered into.")
    probes: int = Field(gt=0, description="ivf and ivf_pq: lists searched per query.")
    pq_bytes: int = Field(
        gt=0,
        description="ivf_pq: bytes per compressed vector. If it does not divide embedding_dim, the next smaller number "
        "that does is used.",
    )
    links: int = Field(ge=2, description="hnsw: links per node.")
    build_beam: int = Field(gt=0, description="hnsw: beam width when the index is built.")
    search_beam: int = Field(gt=0, description="hnsw: beam width of a search.")

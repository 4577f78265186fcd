"""Sizes of the FAISS indexes."""

from typing import ClassVar

from pydantic import Field

from pipeline_lib.params.section import Section


class IndexParams(Section):
    """Sizes of the FAISS indexes of plan.index; `flat` needs none."""

    section: ClassVar[str] = "index"
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

"""Sizes of the FAISS indexes."""

from typing import Annotated, ClassVar

from pydantic import Field

from pipeline_lib.params.section import Section


class IndexParams(Section):
    """Sizes of the approximate FAISS indexes; `flat` needs none."""

    section: ClassVar[str] = "index"
    lists: Annotated[int, Field(gt=0)]
    probes: Annotated[int, Field(gt=0)]
    pq_bytes: Annotated[int, Field(gt=0)]
    links: Annotated[int, Field(ge=2)]
    build_beam: Annotated[int, Field(gt=0)]
    search_beam: Annotated[int, Field(gt=0)]

"""How photos are stored."""

from typing import Annotated, ClassVar

from pydantic import Field

from pipeline_lib.params.section import Section


class ShardsParams(Section):
    """How photos are stored."""

    section: ClassVar[str] = "shards"
    size: Annotated[int, Field(gt=0)]
    quality: Annotated[int, Field(ge=1, le=100)]
    photos_per_shard: Annotated[int, Field(gt=0)]

"""How images are stored in shards."""

from typing import ClassVar

from pydantic import Field

from pipeline_lib.params.section import Section


class ShardsParams(Section):
    """Resized images in WebDataset tars."""

    section: ClassVar[str] = "shards"
    size: int = Field(gt=0, description="Larger images are resized so that their shorter side has this many pixels.")
    quality: int = Field(
        ge=1, le=100, description="JPEG quality of resized images. Images that are small enough are copied unchanged."
    )
    photos_per_shard: int = Field(gt=0, description="Images per tar file.")

"""How images are stored in shards."""

from typing import ClassVar

from pydantic import Field

from pipeline_lib.params.section import Section
from pipeline_lib.params.values import ColourProfile, Pixels


class ShardsParams(Section):
    """Resized images in WebDataset tars."""

    section: ClassVar[str] = "shards"
    size: Pixels = Field(description="Larger images are resized so that their shorter side has this many pixels.")
    quality: int = Field(
        ge=1, le=100, description="JPEG quality of resized images. Images that are small enough are copied unchanged."
    )
    photos_per_shard: int = Field(gt=0, description="Images per tar file.")
    colour_profile: ColourProfile = Field(
        description="Images with an embedded colour profile (Display P3, Adobe RGB, CMYK): convert (their colours "
        "become sRGB) | ignore (their numbers are taken as sRGB; a red is off by 49 to 67 of 255 levels)."
    )

"""Which frames of a clip are read."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section

Sampling = Literal["uniform", "head", "fps"]


class FramesParams(Section):
    """Frames of clips, which become the photos of their products."""

    section: ClassVar[str] = "frames"
    count: int = Field(
        gt=0, le=999, description="Frames of each clip. A clip with fewer frames gives all of them, each once."
    )
    sampling: Sampling = Field(
        description="uniform (the frame nearest to the middle of each of `count` equal parts of the clip's time) | "
        "head (the first frames) | fps (a frame every 1/fps seconds, then `count` of them evenly)."
    )
    fps: float = Field(gt=0, description="Frames a second before `count` of them are chosen; used by fps alone.")

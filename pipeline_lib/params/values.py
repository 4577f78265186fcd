"""Types of values that several sections share."""

from typing import Annotated, Literal

from pydantic import Field

Precision = Literal["auto", "fp32", "tf32", "fp16", "bf16"]
ResizeMode = Literal["shortest", "longest", "squash", "target_pad", "square_pad"]
Interpolation = Literal["bicubic", "bilinear"]
ViewName = Literal["none", "clip", "jitter_flip", "grayscale_blur"]
Positive = Annotated[int, Field(gt=0)]

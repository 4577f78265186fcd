"""The encoders of the sample's clips: their bytes do not depend on how fast the machine is."""

import io

import av
import numpy as np
import pytest
from shop.clip_files import CODECS

FAST = 2_000  # frames a second: an encoder that follows the clock is always late


def encoded(ending: str) -> bytes:
    codec, options = CODECS[ending]
    picture, target = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8), io.BytesIO()
    with av.open(target, "w", format=ending, container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, FAST, options={**options, "flags": "+bitexact"})
        stream.width = stream.height = 96
        stream.pix_fmt = "yuv420p"
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 3 * number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target.getvalue()


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_no_encoder_follows_the_clock(ending):
    assert len({encoded(ending) for _ in range(12)}) == 1

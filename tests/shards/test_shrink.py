import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.shards import shrink as module
from pipeline_lib.shards.shrink import by_pillow, by_resizer, shrink

WAYS = [by_resizer, by_pillow]


def bicubic(distance: float) -> float:
    """Keys's cubic convolution kernel with a = -0.5."""
    x = abs(distance)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def one_line_shrunk(line: np.ndarray, count: int) -> np.ndarray:
    """`count` means of a line (n, channels), weighted by the kernel, `n / count` times as wide, around each centre."""
    factor = len(line) / count
    out = []
    for place in range(count):
        centre = (place + 0.5) * factor
        weights = np.array([bicubic((number + 0.5 - centre) / factor) for number in range(len(line))])
        out.append((weights / weights.sum()) @ line)
    return np.stack(out)


def slowly(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    across = np.stack([one_line_shrunk(row, width) for row in pixels.astype(float)])
    return np.clip(np.stack([one_line_shrunk(column, height) for column in across.swapaxes(0, 1)], axis=1), 0, 255)


@st.composite
def pictures(draw):
    rows, columns = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    # Contrasts of a photo: where hard black and white overshoot, rounding between the passes clips.
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(60, 196, (rows, columns, 3), dtype=np.uint8)
    return pixels, draw(st.integers(1, columns)), draw(st.integers(1, rows))


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60)
@given(picture=pictures())
def test_shrinking_equals_the_slow_sum(way, picture):
    pixels, width, height = picture
    found = way(pixels, width, height)
    assert found.shape == (height, width, 3) and found.dtype == np.uint8
    assert np.abs(found - slowly(pixels, width, height)).max() < 1.6  # rounded twice


@pytest.mark.parametrize("way", WAYS)
def test_one_colour_stays_and_a_picture_of_that_size_too(way):
    assert (way(np.full((40, 30, 3), (255, 128, 0), np.uint8), 7, 9) == (255, 128, 0)).all()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(way(pixels, 30, 20), pixels)


def test_rows_need_not_lie_side_by_side():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    part = pixels[::2, 5:25]
    assert np.array_equal(shrink(part, 10, 10), shrink(part.copy(), 10, 10))


def test_every_vector_code_gives_the_same_bytes(monkeypatch):
    import cykooz_resizer

    pixels = np.random.default_rng(0).integers(0, 256, (450, 601, 3), dtype=np.uint8)
    kinds = [kind for kind in cykooz_resizer.CpuExtensions if _runs(cykooz_resizer, kind)]
    assert len(kinds) > 1  # else this machine cannot tell
    found = []
    for kind in kinds:
        monkeypatch.setattr(cykooz_resizer, "Resizer", lambda kind=kind: _resizer(kind))
        found.append(by_resizer(pixels, 341, 256).tobytes())
    assert len(set(found)) == 1


def _resizer(kind):
    from cykooz_resizer.resize import Resizer

    resizer = Resizer()
    resizer.cpu_extensions = kind
    return resizer


def _runs(library, kind) -> bool:
    try:
        return _resizer(kind).cpu_extensions == kind
    except ValueError:
        return False


def test_without_the_library_pillow_shrinks(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, module.__name__)
    import pipeline_lib.shards.shrink as again

    assert again.shrink is again.by_pillow

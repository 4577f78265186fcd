import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.shards import resize as module
from pipeline_lib.shards.resize import resize, resize_with_cykooz, resize_with_pillow

IMPLEMENTATIONS = [resize_with_cykooz, resize_with_pillow]


def bicubic(distance: float) -> float:
    """Return the cubic convolution kernel of Keys with a = -0.5."""
    x = abs(distance)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def resize_line(line: np.ndarray, count: int) -> np.ndarray:
    """Return `count` means of a line (n, channels), weighted by the kernel scaled by n / count around each centre."""
    factor = len(line) / count
    out = []
    for index in range(count):
        centre = (index + 0.5) * factor
        weights = np.array([bicubic((number + 0.5 - centre) / factor) for number in range(len(line))])
        out.append((weights / weights.sum()) @ line)
    return np.stack(out)


def resize_slowly(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    rows = np.stack([resize_line(row, width) for row in pixels.astype(float)])
    return np.clip(np.stack([resize_line(column, height) for column in rows.swapaxes(0, 1)], axis=1), 0, 255)


@st.composite
def images(draw):
    rows, columns = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    # The contrast of a photo. With hard black and white edges, clipping between the passes changes the result.
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(60, 196, (rows, columns, 3), dtype=np.uint8)
    return pixels, draw(st.integers(1, columns)), draw(st.integers(1, rows))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@settings(max_examples=60)
@given(image=images())
def test_resizing_equals_a_slow_sum(implementation, image):
    pixels, width, height = image
    result = implementation(pixels, width, height)
    assert result.shape == (height, width, 3) and result.dtype == np.uint8
    assert np.abs(result - resize_slowly(pixels, width, height)).max() < 1.6  # rounded twice


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_one_colour_and_an_image_of_the_target_size_are_unchanged(implementation):
    assert (implementation(np.full((40, 30, 3), (255, 128, 0), np.uint8), 7, 9) == (255, 128, 0)).all()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(implementation(pixels, 30, 20), pixels)


def test_pixels_need_not_be_contiguous():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    part = pixels[::2, 5:25]
    assert np.array_equal(resize(part, 10, 10), resize(part.copy(), 10, 10))


def test_every_instruction_set_gives_the_same_bytes(monkeypatch):
    import cykooz_resizer

    pixels = np.random.default_rng(0).integers(0, 256, (450, 601, 3), dtype=np.uint8)
    kinds = [kind for kind in cykooz_resizer.CpuExtensions if _runs(cykooz_resizer, kind)]
    assert len(kinds) > 1  # otherwise this machine has nothing to compare
    results = []
    for kind in kinds:
        monkeypatch.setattr(cykooz_resizer, "Resizer", lambda kind=kind: _resizer(kind))
        results.append(resize_with_cykooz(pixels, 341, 256).tobytes())
    assert len(set(results)) == 1


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


def test_without_the_library_pillow_resizes(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, module.__name__)
    import pipeline_lib.shards.resize as reloaded

    assert reloaded.resize is reloaded.resize_with_pillow

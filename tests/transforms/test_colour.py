import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from pipeline_lib.transforms.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    blur,
    grey,
    grey_and_blur,
    jitter,
)


def noise(seed: int = 0, width: int = 37, height: int = 21) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def as_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())


def difference(image: Image.Image, tensor: torch.Tensor) -> int:
    return int((as_tensor(image).int() - tensor.int()).abs().max())


@pytest.mark.parametrize(
    ("function", "reference", "amounts"),
    [
        (adjust_brightness, functional.adjust_brightness, (0.0, 0.6, 1.0, 1.4)),
        (adjust_contrast, functional.adjust_contrast, (0.0, 0.6, 1.0, 1.4)),
        (adjust_saturation, functional.adjust_saturation, (0.0, 0.6, 1.0, 1.4)),
        (adjust_hue, functional.adjust_hue, (-0.5, -0.1, 0.0, 0.03, 0.1, 0.5)),
    ],
)
def test_every_change_equals_torchvisions_within_one_level(function, reference, amounts):
    images = [noise(), Image.new("RGB", (3, 5), (200, 30, 30)), Image.new("RGB", (1, 1), (9, 9, 9))]
    for amount in amounts:
        for image in images:
            assert difference(function(image, amount), reference(as_tensor(image), amount)) <= 1, amount


def test_grey_equals_torchvisions_within_one_level():
    assert difference(grey(noise()), functional.rgb_to_grayscale(as_tensor(noise()), 3)) <= 1


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_blur_is_near_the_exact_gaussian(sigma):
    """The reference is an explicit kernel of +-8 pixels over mid-range noise, without the border."""
    values = np.asarray(noise(3, 48, 40)).astype(float)
    offsets = np.arange(-8, 9)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    exact = np.zeros((24, 32, 3))
    for row, down in zip(offsets, kernel, strict=True):
        for column, across in zip(offsets, kernel, strict=True):
            exact += down * across * values[8 + row : 32 + row, 8 + column : 40 + column]
    blurred = np.asarray(blur(noise(3, 48, 40), sigma)).astype(float)[8:32, 8:40]
    assert np.abs(blurred - exact).max() < 6
    assert np.abs(blurred - exact).mean() < 1.5
    assert np.abs(values[8:32, 8:40] - exact).mean() > 30


def test_a_hue_shift_of_a_third_permutes_the_primary_colours():
    for before, after in (((200, 10, 10), (10, 200, 10)), ((10, 200, 10), (10, 10, 200)), ((70, 70, 70), (70, 70, 70))):
        assert adjust_hue(Image.new("RGB", (1, 1), before), 1 / 3).getpixel((0, 0)) == after


def test_jitter_changes_all_four_properties_and_depends_on_its_seed():
    image = Image.new("RGB", (2, 2), (200, 120, 60))
    drawn = [jitter(image, np.random.default_rng((7, 0, row))).getpixel((0, 0)) for row in range(200)]
    repeated = [jitter(image, np.random.default_rng((7, 0, row))).getpixel((0, 0)) for row in range(200)]
    assert drawn == repeated
    values = np.array(drawn, dtype=float)
    assert values.max(axis=1).std() > 20  # brightness
    chroma = (values.max(axis=1) - values.min(axis=1)) / values.max(axis=1)
    assert chroma.min() < 0.6 < 0.8 < chroma.max()  # saturation
    position = (values[:, 1] - values[:, 2]) / (values[:, 0] - values[:, 2]).clip(1)
    assert position.min() < 0.2 < 0.7 < position.max()  # hue
    assert 40 < np.mean(values[:, 1] > 120 * values.max(axis=1) / 200) * 200 < 160


def test_one_in_five_images_is_grey_and_one_in_two_is_blurred():
    image = noise(5, 112, 112)
    sharpness = np.abs(np.diff(np.asarray(image.convert("L")).astype(int), axis=1)).mean()
    greys = blurs = 0
    for row in range(400):
        view = grey_and_blur(image, np.random.default_rng((1, 0, row)))
        greys += bool((np.ptp(np.asarray(view), axis=2) == 0).all())
        blurs += np.abs(np.diff(np.asarray(view.convert("L")).astype(int), axis=1)).mean() < 0.98 * sharpness
    assert 50 < greys < 110
    assert 150 < blurs < 250

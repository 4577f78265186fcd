"""Images and convolution weights are in channels-last format, and normalisation computes the exact formula."""

import pytest
import torch
from adapted_towers import vit
from tiny_clip import CONFIG, TIMM_CONFIG, resolved, written

from pipeline_lib.towers.open_clip_image import OpenClipImageTower
from pipeline_lib.towers.timm_tower import TimmTower

LAST = torch.channels_last


def resnet(_):
    return TimmTower({"architecture": "resnet10t", "model_args": {}, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]})


def open_clip(config):
    return lambda folder: OpenClipImageTower(resolved(written(folder, config), None)["image"].description)


@pytest.mark.parametrize("build", [resnet, lambda _: vit(), open_clip(CONFIG), open_clip(TIMM_CONFIG)])
def test_weights_images_and_gradients_are_channels_last(build, tmp_path):
    tower = build(tmp_path)
    kernels = [value for value in tower.parameters() if value.ndim == 4]
    assert kernels and all(kernel.is_contiguous(memory_format=LAST) for kernel in kernels)
    size = 64 if "timm" in type(getattr(tower, "visual", None)).__module__ else 32
    pixels = torch.randint(0, 256, (2, 3, size, size if hasattr(tower, "visual") else 48), dtype=torch.uint8)
    assert tower.normalise(pixels).is_contiguous(memory_format=LAST)
    tower.encode(pixels).sum().backward()
    assert all(kernel.grad.stride() == kernel.stride() for kernel in kernels)


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalise_equals_the_formula_and_does_not_change_its_input(layout, dtype):
    tower = resnet(None)
    pixels = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8).to(dtype).contiguous(memory_format=layout)
    before = pixels.clone()
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) * 255 for value in ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]))
    assert torch.equal(tower.normalise(pixels), (pixels.float() - mean) / std)
    assert torch.equal(pixels, before)

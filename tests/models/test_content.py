"""Averaging photos, mixup and cutmix of a batch against explicit loops."""

import pytest
import torch

from pipeline_lib.batch import Batch
from pipeline_lib.models.content import mean_of_photos, mix_features, mix_pixels


def batch(count, **content):
    rows = torch.arange(count)
    return Batch(rows, rows, rows, torch.ones(count, dtype=torch.bool), rows, **content)


def test_photos_are_averaged_within_their_product():
    features, counts = torch.randn(6, 3), torch.tensor([1, 3, 2])
    found, start = mean_of_photos(features, counts), 0
    for product, count in enumerate(counts.tolist()):
        assert torch.allclose(found[product], features[start : start + count].mean(0), atol=1e-6)
        start += count


def test_mixup_is_a_weighted_sum_of_both():
    values = torch.randn(3, 4)
    mixed = batch(3, mix_with=torch.tensor([1, 1, 0]), mix_share=torch.tensor([0.25, 1.0, 0.5]))
    found = mix_features(values, mixed)
    assert torch.allclose(found[0], 0.25 * values[0] + 0.75 * values[1])
    assert found[1].equal(values[1]) and torch.allclose(found[2], (values[2] + values[0]) / 2)
    assert mix_features(values, batch(3)) is values


def test_cutmix_takes_a_box_of_the_partner():
    pixels = torch.randint(0, 256, (2, 3, 5, 5), dtype=torch.uint8)
    cut = torch.tensor([[1, 4, 0, 2], [0, 0, 0, 0]])
    mixed = batch(2, mix_with=torch.tensor([1, 1]), mix_share=torch.tensor([19 / 25, 1.0]), cut=cut)
    found = mix_pixels(pixels, mixed)
    for y in range(5):
        for x in range(5):
            source = 1 if 1 <= y < 4 and x < 2 else 0
            assert found[0, :, y, x].equal(pixels[source, :, y, x])
    assert found[1].equal(pixels[1]) and found.dtype == torch.uint8


def test_pixels_without_a_box_are_mixed_as_numbers():
    pixels = torch.tensor([10, 21], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 3, 2, 2)
    mixed = batch(2, mix_with=torch.tensor([1, 0]), mix_share=torch.tensor([0.5, 0.5]))
    assert float(mix_pixels(pixels, mixed)[0, 0, 0, 0]) == pytest.approx(15.5)

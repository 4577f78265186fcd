"""GradCache: several small batches give the gradients of one large batch, with dropout and without side effects."""

from dataclasses import replace

import pytest
import torch
from tiny_project import make_settings
from torch import nn

from pipeline_lib.batch import CONTENT, Batch
from pipeline_lib.losses.build import LOSSES, build_losses
from pipeline_lib.models.frame_pooling import FramePooling, FramePoolingConfig, mask_of
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.params.heads import weights_of
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.ema import build_momentum_encoder
from pipeline_lib.training.grad_cache import backward_jointly, join_batches, join_outputs
from pipeline_lib.training.task import Task


def make_task(towers, momentum=0.0, dropout=True):
    on = {name: {"weight": 0.5} for name in LOSSES}
    on["memory_queue"] |= {"momentum": momentum, "start_epoch": 0}
    on["triplet"] |= {"reduction": "mean", "margin": 0.5}
    on["siglip"] |= {"bias": -10.0}
    settings = make_settings(*towers, losses_on=on)
    torch.manual_seed(0)
    sources = resolve_towers(settings.model)
    model = build_model(describe(settings.model, sources, True, ["hat", "mug"]), sources).train()
    if not dropout:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    losses = build_losses(settings.losses, list(LOSSES))
    encoder = build_momentum_encoder(model, momentum) if momentum else None
    task = Task(
        model, losses, weights_of(settings.losses), "cpu", "fp32", frozenset(dict(model.named_parameters())), encoder
    )
    task.begin_epoch(0)
    return task


def make_batches(sizes, padded=0):
    """Batches whose texts have different lengths, or are padded to one length."""
    batches, start = [], 0
    for number, size in enumerate(sizes):
        torch.manual_seed(10 + number)
        rows = torch.arange(start, start + size)
        tokens, length = torch.randint(4, 16, (size, 3 + number)), 3 + number
        wide = max(padded, length)
        batches.append(
            Batch(
                product=rows, group=rows // 2, text=rows, has_text=rows != 1, label=rows % 3 - 1,
                pixels=torch.randint(0, 256, (size, 3, 32, 32), dtype=torch.uint8),
                token_ids=nn.functional.pad(tokens, (0, wide - length)),
                token_mask=nn.functional.pad(torch.ones(size, length, dtype=torch.bool), (0, wide - length)),
            )
        )  # fmt: skip
        start += size
    return batches


def gradients(task):
    named = [*task.model.named_parameters(), *task.loss_parameters()]
    return {name: value.grad for name, value in named if value.grad is not None}


def compare(one, other, rtol, atol=1e-6):
    assert set(one) == set(other)
    for name, value in one.items():
        assert torch.allclose(value, other[name], rtol=rtol, atol=atol), (name, (value - other[name]).abs().max())


@pytest.fixture
def towers(tiny_image_folder, tiny_text_folder):
    return tiny_image_folder, tiny_text_folder


def test_gradients_equal_those_of_one_large_batch(towers):
    """Batches of unequal sizes with every loss on; and a second step, with the queue that the first step filled."""
    small, large = make_task(towers, dropout=False), make_task(towers, dropout=False)
    parts = make_batches([5, 4, 3])
    padded = make_batches([5, 4, 3], padded=5)
    content = {
        name: torch.cat([getattr(one, name) for one in padded]) for name in ("pixels", "token_ids", "token_mask")
    }
    joined = replace(join_batches(padded), **content)
    for _ in range(2):
        _, of_parts = backward_jointly(small, parts)
        _, of_joined = backward_jointly(large, [joined])
        for name, value in of_joined.items():
            assert float(of_parts[name]) == pytest.approx(float(value), rel=1e-4), name
    compare(gradients(small), gradients(large), rtol=1e-3, atol=1e-5)
    assert "siglip.bias" in gradients(small) and "logit_scale" in gradients(small)


def squared_weights(outputs, batch):
    """A loss of the photos' attention that mixes all products, so that it differs between batches and their join."""
    counts = batch.num_photos.repeat_interleave(batch.num_photos)
    return ((outputs.frame_logits - outputs.frame_logits.mean()) ** 2 * counts).sum()


def test_a_loss_of_single_photos_gives_the_gradients_of_one_large_batch(towers):
    """Products of 1 to 3 photos with frame attention and a temporal layer: an output with a row for each photo."""
    tasks = [make_task(towers, dropout=False) for _ in range(2)]
    for task in tasks:
        torch.manual_seed(1)
        task.model.frames = FramePooling(24, FramePoolingConfig("attention", 1, 2, 3, 0.1))
        for value in task.model.frames.parameters():
            value.data.add_(0.2 * torch.randn_like(value))
        task.losses["weights of frames"], task.weights["weights of frames"] = squared_weights, 0.5
    small, large = tasks
    counts = [torch.tensor([1, 3, 2]), torch.tensor([2, 1])]
    parts = [
        replace(one, num_photos=own, photo_mask=mask_of(own), pixels=one.pixels.repeat_interleave(own, dim=0).flip(0))
        for one, own in zip(make_batches([3, 2], padded=4), counts, strict=True)
    ]
    content = {name: torch.cat([getattr(one, name) for one in parts]) for name in ("pixels", "token_ids", "token_mask")}
    joined = replace(join_batches(parts), photo_mask=mask_of(torch.cat(counts)), **content)
    assert joined.num_photos.tolist() == [1, 3, 2, 2, 1]
    outputs, of_parts = backward_jointly(small, parts)
    _, of_joined = backward_jointly(large, [joined])
    assert outputs.frame_logits.shape == (9,)
    for name, value in of_joined.items():
        assert float(of_parts[name]) == pytest.approx(float(value), rel=1e-4), name
    compare(gradients(small), gradients(large), rtol=1e-3, atol=1e-5)
    assert gradients(small)["frames.attention.0.weight"].abs().max() > 0


def test_accumulating_the_losses_of_single_batches_gives_other_gradients(towers):
    """The sum of the losses of the single batches is another loss."""
    jointly, separately = make_task(towers, dropout=False), make_task(towers, dropout=False)
    parts = make_batches([4, 4])
    backward_jointly(jointly, parts)
    for part in parts:
        separately.compute(part)[1]["total"].div(2).backward()
    one, other = gradients(jointly), gradients(separately)
    assert not torch.allclose(one["head.image_projection.weight"], other["head.image_projection.weight"], rtol=0.05)


@pytest.mark.parametrize(("momentum", "precision"), [(0.0, "fp32"), (0.9, "fp32"), (0.0, "bf16")])
def test_dropout_repeats_in_the_second_pass(towers, momentum, precision):
    """Reference: all batches run once with their graphs, joined for the losses, from the same random state."""
    cached, plain = (replace(make_task(towers, momentum), precision=precision) for _ in range(2))
    parts = make_batches([5, 4, 3])
    torch.manual_seed(5)
    _, named = backward_jointly(cached, parts)
    next_number = torch.rand(1)
    torch.manual_seed(5)
    outputs = join_outputs([plain.forward_all(part) for part in parts])
    expected = plain.compute_losses(outputs, join_batches(parts))
    expected["total"].backward()
    assert torch.equal(next_number, torch.rand(1))
    assert {name: float(value) for name, value in named.items()} == {
        name: value.item() for name, value in expected.items()
    }
    compare(gradients(cached), gradients(plain), rtol=1e-3)
    active = [module for module in cached.model.modules() if isinstance(module, nn.Dropout) and module.p > 0]
    assert active, "without dropout the test is empty"


def test_running_statistics_are_updated_once_a_step(towers):
    once, jointly = make_task(towers), make_task(towers)
    for task in (once, jointly):
        task.model.head["image_projection"] = nn.Sequential(nn.BatchNorm1d(24), task.model.head["image_projection"])
    parts = make_batches([5, 4])
    torch.manual_seed(5)
    backward_jointly(jointly, parts)
    torch.manual_seed(5)
    for part in parts:
        once.forward_all(part)
    for task in (once, jointly):
        assert task.model.head["image_projection"][0].num_batches_tracked == 2
    means = [task.model.head["image_projection"][0].running_mean for task in (once, jointly)]
    assert torch.equal(*means) and means[0].abs().max() > 0


def test_a_frozen_model_without_heads_to_train_gets_no_gradient(towers):
    """Only the losses have trained parameters, so no output needs a gradient."""
    task = make_task(towers)
    task.model.requires_grad_(False)
    backward_jointly(task, make_batches([3, 3]))
    assert set(gradients(task)) == {"siglip.bias"}


def test_joined_batches_have_the_fields_of_losses_and_no_model_inputs():
    joined = join_batches(make_batches([2, 3]))
    assert joined.product.tolist() == [0, 1, 2, 3, 4] and joined.group.tolist() == [0, 0, 1, 1, 2]
    assert all(getattr(joined, name) is None for name in CONTENT)

"""Learned scales: one that starts past its bound has a gradient, and comes back; each step ends within the bounds."""

import math

import pytest
import torch
from tiny_project import make_settings
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.info_nce import info_nce
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.register_memory import RegisterMemory
from pipeline_lib.models.scale_bounds import MAX_LOG_SCALE, bounded_scales, clamp_scales
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.task import Task


def make_task(towers, temperature="learned"):
    settings = make_settings(*towers, cross_entropy=0.0)
    sources = resolve_towers(settings.model)
    description = describe(settings.model, sources, True, []) | {"temperature": temperature}
    model = build_model(description, sources).train()
    losses = {"info_nce": lambda outputs, batch: info_nce(*unrelated(), outputs.logit_scale)}
    return Task(model, losses, {"info_nce": 1.0}, "cpu", "fp32", frozenset())


def unrelated():
    """Images and texts without any relation: the loss falls as the scale falls."""
    generator = torch.Generator().manual_seed(0)
    return (functional.normalize(torch.randn(16, 8, generator=generator), dim=1) for _ in range(2))


def losses_of_steps(task, steps, lr):
    optimizer = torch.optim.SGD([task.model.logit_scale], lr=lr)
    losses = []
    for _ in range(steps):
        scale = task.model.logit_scale.exp()
        total = task.compute_losses(Outputs(logit_scale=scale), None)["total"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        task.end_step()
        losses.append(total.item())
    return losses


@pytest.mark.parametrize("temperature", ["learned", "per_direction"])
def test_a_scale_past_its_bound_comes_back(towers, temperature):
    task = make_task(towers, temperature)
    with torch.no_grad():
        task.model.logit_scale.fill_(6.0)
    losses = losses_of_steps(task, 60, lr=0.02)
    assert task.model.logit_scale.max() < 3.0
    assert losses[0] > 100 and losses[-1] < 0.1 * losses[0]


def test_the_model_has_the_gradient_of_its_scale_past_the_bound(towers):
    """The forward pass of the model, and of a register memory in a tower."""
    task = make_task(towers)
    batch = Batch(
        product=torch.arange(2), group=torch.arange(2), text=torch.arange(2), has_text=torch.ones(2, dtype=torch.bool),
        label=torch.zeros(2, dtype=torch.long), image_features=torch.randn(2, 24), text_features=torch.randn(2, 16),
    )  # fmt: skip
    with torch.no_grad():
        task.model.logit_scale.fill_(5.0)
    task.forward(batch).logit_scale.backward()
    assert task.model.logit_scale.grad.item() == pytest.approx(math.exp(5.0), rel=1e-5)
    memory = RegisterMemory(8, 4, None)
    torch.nn.init.normal_(memory.out.weight)
    with torch.no_grad():
        memory.log_scale.fill_(5.0)
    memory(torch.randn(1, 3, 8)).sum().backward()
    assert memory.log_scale.grad.abs() > 0


def test_every_learned_scale_is_clamped_and_a_fixed_or_frozen_one_is_not(towers):
    model = make_task(towers).model
    memories = [RegisterMemory(8, 2, None) for _ in range(3)]
    memories[0].log_scale.requires_grad_(False)
    scales = bounded_scales(torch.nn.ModuleList([model, *memories]))
    with torch.no_grad():
        for value, _ in scales:
            value.fill_(7.0)
    clamp_scales(scales)
    assert model.logit_scale.item() == pytest.approx(MAX_LOG_SCALE)
    assert [memory.log_scale.item() for memory in memories] == pytest.approx([7.0, MAX_LOG_SCALE, MAX_LOG_SCALE])
    fixed = make_task(towers, "fixed")
    fixed.model.logit_scale.fill_(7.0)
    fixed.end_step()
    assert fixed.model.logit_scale.item() == 7.0

"""Losses with state and the momentum encoder in a run: trained, saved, and bit-equal after a resumption."""

from pathlib import Path

import pytest
import torch
from tiny_project import make_settings, write_project
from watched_run import run, stop_before

from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import read_state
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.ema import build_momentum_encoder
from pipeline_lib.training.task import Task
from pipeline_lib.training.trainer import Trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
    pytest.mark.usefixtures("isolated"),
]


def model_of(settings):
    sources = resolve_towers(settings.model)
    return build_model(describe(settings.model, sources, True, []), sources)


STATEFUL = {
    "siglip": {"weight": 0.5},
    "memory_queue": {"weight": 0.5, "momentum": 0.9, "start_epoch": 1, "size": 16},
}


def test_a_stopped_run_resumes_to_the_same_result(towers, tmp_path, monkeypatch):
    """With a learned bias, a queue, a momentum encoder and accumulation; stopped before the third epoch."""
    inputs = write_project(tmp_path / "project")
    settings = make_settings(*towers, info_nce=0.0, losses_on=STATEFUL, accumulate=2, batch_size=4, epochs=4)
    uninterrupted = run(settings, inputs, "uninterrupted")
    stop_before(2, settings, inputs, "same", monkeypatch)
    resumed = run(settings, inputs, "resumed", "same")
    for file in ("history.csv", "model.safetensors"):
        assert (uninterrupted / file).read_bytes() == (resumed / file).read_bytes(), file
    header = (uninterrupted / "history.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "siglip" in header and "memory_queue" in header


def test_a_resumed_run_has_the_same_mined_batches(towers, tmp_path, monkeypatch):
    """The checkpoint restores mined batches, which differ from those of a shuffle."""
    inputs = write_project(tmp_path / "project")
    settings = make_settings(*towers, mining="hard", batch_size=4, epochs=4)
    uninterrupted = run(settings, inputs, "uninterrupted")
    stop_before(2, settings, inputs, "same", monkeypatch)
    resumed = run(settings, inputs, "resumed", "same")
    shuffled = run(make_settings(*towers, batch_size=4, epochs=4), inputs, "shuffled")
    for file in ("history.csv", "model.safetensors"):
        assert (uninterrupted / file).read_bytes() == (resumed / file).read_bytes(), file
    rows = [(out / "history.csv").read_text(encoding="utf-8").splitlines() for out in (uninterrupted, shuffled)]
    assert rows[0][1] == rows[1][1] and rows[0][2] != rows[1][2]


def test_mining_without_embeddings_is_refused(towers, tmp_path):
    settings = make_settings(*towers, info_nce=0.0, mining="hard")
    with pytest.raises(ValueError, match=r"train.mining = 'hard' compares embeddings, but no loss that trains them"):
        run(settings, write_project(tmp_path / "project"), "out")


def test_without_the_states_of_losses_a_resumed_run_differs(towers, tmp_path, monkeypatch):
    """A check of the test above: bias, queue and momentum encoder are not restored."""
    inputs = write_project(tmp_path / "project")
    settings = make_settings(*towers, info_nce=0.0, losses_on=STATEFUL, batch_size=4, epochs=3)
    uninterrupted = run(settings, inputs, "uninterrupted")
    stop_before(2, settings, inputs, "same", monkeypatch)
    load = Task.load_state
    monkeypatch.setattr(Task, "load_state", lambda self, state: load(self, {"model": state["model"]}))
    resumed = run(settings, inputs, "resumed", "same")
    assert (uninterrupted / "model.safetensors").read_bytes() != (resumed / "model.safetensors").read_bytes()


def test_the_bias_is_trained_with_the_lr_of_the_heads(towers, tmp_path, monkeypatch):
    steps = []
    step = Trainer._step

    def watched(self):
        step(self)
        group = self.optimizer.param_groups[-1]
        steps.append((group["name"], group["base_lr"], group["weight_decay"], group["params"][0].item()))

    monkeypatch.setattr(Trainer, "_step", watched)
    losses = {"siglip": {"weight": 1.0}}
    run(make_settings(*towers, losses_on=losses, epochs=1), write_project(tmp_path / "project"), "out")
    assert {one[:3] for one in steps} == {("losses/no-decay", 1e-2, 0.0)}
    assert len({one[3] for one in steps}) == len(steps) and steps[0][3] != -10.0


def test_losses_that_are_off_do_not_change_a_run(towers, tmp_path):
    """With weight 0, other settings of a loss give the same bytes."""
    inputs = write_project(tmp_path / "project")
    off = {"siglip": {"bias": 3.0}, "memory_queue": {"momentum": 0.9, "start_epoch": 0}, "triplet": {"margin": 9.0}}
    plain = run(make_settings(*towers, epochs=2), inputs, "plain")
    other = run(make_settings(*towers, epochs=2, losses_on=off), inputs, "other")
    for file in ("history.csv", "model.safetensors"):
        assert (plain / file).read_bytes() == (other / file).read_bytes()


def test_the_momentum_encoder_equals_its_closed_form(towers):
    """After n updates towards constant weights, the distance is momentum ** n times the first one."""
    model = model_of(make_settings(*towers))
    encoder = build_momentum_encoder(model, 0.8)
    first = {name: value.clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1.0)
    for _ in range(3):
        encoder.update(model)
    for name, value in encoder.model.named_parameters():
        assert torch.allclose(value, first[name] + 1 - 0.8**3, atol=1e-5), name
        assert not value.requires_grad


def test_with_a_momentum_of_almost_one_the_encoder_keeps_the_initial_weights(towers, tmp_path):
    inputs = write_project(tmp_path / "project")
    losses = {"memory_queue": {"weight": 1.0, "momentum": 0.999999, "start_epoch": 0}}
    settings = make_settings(*towers, info_nce=0.0, cross_entropy=0.0, losses_on=losses, epochs=1)
    out = run(settings, inputs, "out")
    state = torch.load(Path(".ckpt/out/last.pt"), weights_only=True)
    trained = read_state(out)
    name = "head.text_projection.weight"
    torch.manual_seed(settings.train.seed)
    start = model_of(settings).state_dict()[name]
    assert (trained[name] - start).abs().max() > 1e-3
    assert torch.allclose(state["momentum_encoder"][name], start, atol=1e-4)
    assert state["losses"]["memory_queue._extra_state"]["image"].shape == (24, 8)

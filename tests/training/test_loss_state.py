"""Losses that learn or remember, and the slow copy, in a whole run: trained, saved, and bit-equal after a stop."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_project import make_settings, write_project

from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.tower_kinds import resolve_towers
from pipeline_lib.training.ema import build_momentum_encoder
from pipeline_lib.training.fold import train_fold
from pipeline_lib.training.task import Task
from pipeline_lib.training.trainer import Trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
    pytest.mark.usefixtures("alone"),
]


def run(settings, inputs, name, fingerprint=None):
    out = Path(name)
    out.mkdir()
    train_fold(settings, inputs, 0, fingerprint or name, out)
    return out


def model_of(settings):
    sources = resolve_towers(settings.model)
    return build_model(describe(settings.model, sources, True, []), sources)


def stop_before_the_third_epoch(settings, inputs, monkeypatch):
    epoch = Trainer._epoch

    def stopped(self, number, *rest):
        if number == 2:
            raise RuntimeError("stopped")
        return epoch(self, number, *rest)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(Trainer, "_epoch", stopped)
        run(settings, inputs, "stopped", "same")


STATEFUL = {
    "siglip": {"weight": 0.5},
    "memory_queue": {"weight": 0.5, "momentum": 0.9, "start_epoch": 1, "size": 16},
}


def test_a_stopped_run_ends_as_the_unbroken_one(towers, tmp_path, monkeypatch):
    """Learned bias, queue, slow copy and joined batches; stopped before its third epoch and gone on with."""
    inputs = write_project(tmp_path / "project")
    settings = make_settings(*towers, info_nce=0.0, losses_on=STATEFUL, accumulate=2, batch_size=4, epochs=4)
    whole = run(settings, inputs, "whole")
    stop_before_the_third_epoch(settings, inputs, monkeypatch)
    ended = run(settings, inputs, "ended", "same")
    for file in ("history.csv", "model.safetensors"):
        assert (whole / file).read_bytes() == (ended / file).read_bytes(), file
    header = (whole / "history.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "siglip" in header and "memory_queue" in header


def test_a_stopped_run_meets_the_products_it_would_have_met(towers, tmp_path, monkeypatch):
    """Mined batches come back with the checkpoint; and they are other batches than a shuffle's."""
    inputs = write_project(tmp_path / "project")
    settings = make_settings(*towers, mining="hard", batch_size=4, epochs=4)
    whole = run(settings, inputs, "whole")
    stop_before_the_third_epoch(settings, inputs, monkeypatch)
    ended = run(settings, inputs, "ended", "same")
    shuffled = run(make_settings(*towers, batch_size=4, epochs=4), inputs, "shuffled")
    for file in ("history.csv", "model.safetensors"):
        assert (whole / file).read_bytes() == (ended / file).read_bytes(), file
    rows = [(out / "history.csv").read_text(encoding="utf-8").splitlines() for out in (whole, shuffled)]
    assert rows[0][1] == rows[1][1] and rows[0][2] != rows[1][2]


def test_mining_without_embeddings_is_one_line(towers, tmp_path):
    settings = make_settings(*towers, info_nce=0.0, mining="hard")
    with pytest.raises(ValueError, match=r"train.mining = 'hard' compares embeddings, but no loss that trains them"):
        run(settings, write_project(tmp_path / "project"), "out")


def test_the_state_of_losses_decides_what_a_resumed_run_does(towers, tmp_path, monkeypatch):
    """The former test can fail: with bias, queue and slow copy forgotten, the same stop ends elsewhere."""
    inputs = write_project(tmp_path / "project")
    settings = make_settings(*towers, info_nce=0.0, losses_on=STATEFUL, batch_size=4, epochs=3)
    whole = run(settings, inputs, "whole")
    stop_before_the_third_epoch(settings, inputs, monkeypatch)
    load = Task.load_state
    monkeypatch.setattr(Task, "load_state", lambda self, state: load(self, {"model": state["model"]}))
    ended = run(settings, inputs, "ended", "same")
    assert (whole / "model.safetensors").read_bytes() != (ended / "model.safetensors").read_bytes()


def test_the_bias_is_trained_at_the_heads_rate(towers, tmp_path, monkeypatch):
    seen = []
    step = Trainer._step

    def watched(self):
        step(self)
        group = self.optimizer.param_groups[-1]
        seen.append((group["name"], group["base_lr"], group["weight_decay"], group["params"][0].item()))

    monkeypatch.setattr(Trainer, "_step", watched)
    losses = {"siglip": {"weight": 1.0}}
    run(make_settings(*towers, losses_on=losses, epochs=1), write_project(tmp_path / "project"), "out")
    assert {one[:3] for one in seen} == {("losses/no-decay", 1e-2, 0.0)}
    assert len({one[3] for one in seen}) == len(seen) and seen[0][3] != -10.0


def test_losses_that_are_off_leave_no_trace_in_a_run(towers, tmp_path):
    """Weight 0 with other settings: the same bytes."""
    inputs = write_project(tmp_path / "project")
    off = {"siglip": {"bias": 3.0}, "memory_queue": {"momentum": 0.9, "start_epoch": 0}, "triplet": {"margin": 9.0}}
    plain = run(make_settings(*towers, epochs=2), inputs, "plain")
    other = run(make_settings(*towers, epochs=2, losses_on=off), inputs, "other")
    for file in ("history.csv", "model.safetensors"):
        assert (plain / file).read_bytes() == (other / file).read_bytes()


def test_the_slow_copy_follows_at_its_momentum(towers):
    """Closed form: after n steps towards weights that stay, the distance left is momentum ** n of the first."""
    model = model_of(make_settings(*towers))
    copied = build_momentum_encoder(model, 0.8)
    first = {name: value.clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1.0)
    for _ in range(3):
        copied.update(model)
    for name, value in copied.model.named_parameters():
        assert torch.allclose(value, first[name] + 1 - 0.8**3, atol=1e-5), name
        assert not value.requires_grad


def test_a_momentum_of_almost_one_keeps_the_first_model_and_the_queue_sees_it(towers, tmp_path):
    inputs = write_project(tmp_path / "project")
    losses = {"memory_queue": {"weight": 1.0, "momentum": 0.999999, "start_epoch": 0}}
    settings = make_settings(*towers, info_nce=0.0, cross_entropy=0.0, losses_on=losses, epochs=1)
    out = run(settings, inputs, "out")
    state = torch.load(Path(".ckpt/out/last.pt"), weights_only=True)
    trained = load_file(out / "model.safetensors")
    name = "head.text_projection.weight"
    torch.manual_seed(settings.seed)
    start = model_of(settings).state_dict()[name]
    assert (trained[name] - start).abs().max() > 1e-3
    assert torch.allclose(state["momentum_encoder"][name], start, atol=1e-4)
    assert state["losses"]["memory_queue._extra_state"]["image"].shape == (24, 8)

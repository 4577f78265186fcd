"""No step of the loop waits for a value on the device: what would hold a GPU up is counted, between log points."""

import pytest
import torch
from tiny_project import make_settings, write_project
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline_lib.losses.build import LOSSES
from pipeline_lib.models import hf_text_tower
from pipeline_lib.training import trainer as training_loop
from pipeline_lib.training.fold import train_fold
from pipeline_lib.training.prefetch import on_device
from pipeline_lib.training.trainer import Trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
    pytest.mark.usefixtures("alone"),
]
# Operators whose result the CPU must know before it goes on: a number, a truth, or how many elements there are.
WAITING = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique_dim", "_unique2"}
# Methods that bring values into Python; `to` with non_blocking is none of them.
METHODS = ("item", "tolist", "cpu", "numpy", "__float__", "__int__", "__bool__", "__index__")


class Waits(TorchDispatchMode):
    """Lists what waits while it is on, in forward and backward passes and the optimizer."""

    def __init__(self):
        super().__init__()
        self.paused = True
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function.overloadpacket.__name__
        picked = name == "index" and any(one is not None and one.dtype == torch.bool for one in arguments[1])
        if not self.paused and (name in WAITING or picked):
            self.found.append(name)
        return function(*arguments, **(keywords or {}))


@pytest.fixture
def waits(monkeypatch):
    watch = Waits()

    def watched(name, method):
        def call(tensor, *rest, **keywords):
            if not watch.paused:
                watch.found.append(name)
            return method(tensor, *rest, **keywords)

        return call

    for name in METHODS:
        monkeypatch.setattr(torch.Tensor, name, watched(name, getattr(torch.Tensor, name)))
    epoch, add_up = Trainer._epoch, training_loop.read_losses

    def watched_epoch(loop, *rest):
        watch.paused = False
        with watch:
            done = epoch(loop, *rest)
        watch.paused = True
        return done

    def at_a_log_point(*rest):
        watch.paused = True
        values = add_up(*rest)
        watch.paused = False
        return values

    def making(batches, device):
        """What makes a batch is on the CPU."""
        stream = on_device(batches, device)
        while True:
            watch.paused = True
            batch = next(stream, None)
            watch.paused = False
            if batch is None:
                return
            yield batch

    # As on a GPU; these all stay on the CPU, whose values nobody waits for.
    monkeypatch.setattr(hf_text_tower, "is_asynchronous", lambda device: True)
    monkeypatch.setattr(training_loop, "on_device", making)
    monkeypatch.setattr(Trainer, "_epoch", watched_epoch)
    monkeypatch.setattr(training_loop, "read_losses", at_a_log_point)
    return watch


ALL_LOSSES = {name: {"weight": 0.5} for name in LOSSES}


@pytest.mark.parametrize("changes", [
    {},
    {"unfreeze_layers": 0, "use_stored_features": False},
    {"accumulate": 2, "ema_decay": 0.9, "augment": "clip", "photo": "random"},
    {"mining": "hard", "grad_checkpointing": {"image": True, "text": True}},
    {"losses_on": {**ALL_LOSSES, "memory_queue": {"weight": 0.5, "momentum": 0.9, "start_epoch": 0}}},
])  # fmt: skip
def test_no_step_waits(waits, tmp_path, towers, changes):
    settings = make_settings(*towers, epochs=2, **changes)
    out = tmp_path / "out"
    out.mkdir()
    train_fold(settings, write_project(tmp_path / "project"), 0, "waits", out)
    assert waits.found == []


def test_the_watch_sees_what_it_should(waits):
    value = torch.tensor([1.0, 2.0])
    waits.paused = False
    with waits:
        float(value[0])
        value[value > 1]
        value.to("cpu", non_blocking=True)
        bool((value > 0).all())
    assert {"__float__", "index", "__bool__", "_local_scalar_dense"} <= set(waits.found) and "cpu" not in waits.found

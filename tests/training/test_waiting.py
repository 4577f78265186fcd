"""No training step waits for a value on the device: operations that synchronise with a GPU are recorded."""

import pytest
import torch
from tiny_project import make_settings, write_project
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline_lib.losses.build import LOSSES
from pipeline_lib.towers import hf_text_tower
from pipeline_lib.training import trainer
from pipeline_lib.training.fold import train_fold
from pipeline_lib.training.prefetch import on_device
from pipeline_lib.training.trainer import Trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
    pytest.mark.usefixtures("isolated"),
]
# Operators whose result the CPU needs before it continues: a number, a bool, or a count of elements.
WAITING = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique_dim", "_unique2"}
# Methods that copy values to Python; `to` with non_blocking is not one of them.
METHODS = ("item", "tolist", "cpu", "numpy", "__float__", "__int__", "__bool__", "__index__")


class Waits(TorchDispatchMode):
    """Records synchronising operations in forward and backward passes and the optimizer while it is active."""

    def __init__(self):
        super().__init__()
        self.paused = True
        self.recorded = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function.overloadpacket.__name__
        masked = name == "index" and any(one is not None and one.dtype == torch.bool for one in arguments[1])
        if not self.paused and (name in WAITING or masked):
            self.recorded.append(name)
        return function(*arguments, **(keywords or {}))


@pytest.fixture
def waits(monkeypatch):
    watch = Waits()

    def watched(name, method):
        def call(tensor, *rest, **keywords):
            if not watch.paused:
                watch.recorded.append(name)
            return method(tensor, *rest, **keywords)

        return call

    for name in METHODS:
        monkeypatch.setattr(torch.Tensor, name, watched(name, getattr(torch.Tensor, name)))
    epoch, read_losses = Trainer._epoch, trainer.read_losses

    def watched_epoch(self, *rest):
        watch.paused = False
        with watch:
            result = epoch(self, *rest)
        watch.paused = True
        return result

    def at_a_log_point(*rest):
        watch.paused = True
        values = read_losses(*rest)
        watch.paused = False
        return values

    def unwatched(batches, device):
        """Batches are loaded on the CPU, where nothing needs to synchronise."""
        stream = on_device(batches, device)
        while True:
            watch.paused = True
            batch = next(stream, None)
            watch.paused = False
            if batch is None:
                return
            yield batch

    # As on a GPU; this test runs on a CPU.
    monkeypatch.setattr(hf_text_tower, "is_asynchronous", lambda device: True)
    monkeypatch.setattr(trainer, "on_device", unwatched)
    monkeypatch.setattr(Trainer, "_epoch", watched_epoch)
    monkeypatch.setattr(trainer, "read_losses", at_a_log_point)
    return watch


ALL_LOSSES = {name: {"weight": 0.5} for name in LOSSES}


@pytest.mark.parametrize("changes", [
    {},
    {"unfreeze_layers": 0, "use_stored_features": False},
    {"accumulate": 2, "ema_decay": 0.9, "augment": "clip", "photo": "random"},
    {"mining": "hard", "grad_checkpointing": {"image": True, "text": True}},
    {"losses_on": {**ALL_LOSSES, "memory_queue": {"weight": 0.5, "momentum": 0.9, "start_epoch": 0}}},
])  # fmt: skip
def test_no_step_synchronises(waits, tmp_path, towers, changes):
    settings = make_settings(*towers, workers=1, epochs=2, **changes)
    out = tmp_path / "out"
    out.mkdir()
    train_fold(settings, write_project(tmp_path / "project"), 0, "waits", out)
    assert waits.recorded == []


def test_synchronising_operations_are_recorded(waits):
    value = torch.tensor([1.0, 2.0])
    waits.paused = False
    with waits:
        float(value[0])
        value[value > 1]
        value.to("cpu", non_blocking=True)
        bool((value > 0).all())
    assert {"__float__", "index", "__bool__", "_local_scalar_dense"} <= set(waits.recorded)
    assert "cpu" not in waits.recorded

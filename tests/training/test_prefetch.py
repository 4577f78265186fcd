"""Batches are copied to a GPU in a separate stream; here stub streams record which stream waits for which."""

from contextlib import contextmanager
from dataclasses import fields

import torch
from torch.utils.data import DataLoader

from pipeline_lib.batch import Batch
from pipeline_lib.loading import dataset
from pipeline_lib.training.prefetch import on_device

FILLED = ("product", "group", "text", "has_text", "label", "pixels")


def batch(number):
    row = torch.full((2,), number)
    return Batch(product=row, group=row, text=row, has_text=row > 0, label=row, pixels=row.float())


def test_without_a_gpu_batches_are_not_changed():
    batches = [batch(number) for number in range(3)]
    assert all(one is other for one, other in zip(on_device(batches, "cpu"), batches, strict=True))


class Copied:
    """A stub of a tensor on a GPU."""

    def __init__(self, events, name):
        self.events, self.name = events, name

    def record_stream(self, stream):
        self.events.append(f"{self.name} is used by {stream.name}")


class Stream:
    def __init__(self, events, name):
        self.events, self.name = events, name

    def wait_stream(self, other):
        self.events.append(f"{self.name} waits for {other.name}")


def test_the_copy_runs_in_a_separate_stream_and_only_the_gpu_waits(monkeypatch):
    events = []
    copies, computing = Stream(events, "copies"), Stream(events, "computing")

    @contextmanager
    def stream(one):
        events.append(f"into {one.name}")
        yield
        events.append(f"out of {one.name}")

    def to(self, device):
        events.append(f"copy {int(self.product[0])} to {device}")
        return Batch(**{name: Copied(events, name) for name in FILLED})

    monkeypatch.setattr(torch.cuda, "Stream", lambda: copies)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: computing)
    monkeypatch.setattr(Batch, "to", to)
    stream_of = on_device((batch(number) for number in range(2)), "cuda")
    next(stream_of)
    copied = ["into copies", "copy 0 to cuda", "out of copies", "computing waits for copies"]
    used = [f"{name} is used by computing" for name in FILLED]
    assert events == copied + used  # the second batch is not copied before it is requested
    events.clear()
    next(stream_of)
    assert events == [line.replace("copy 0", "copy 1") for line in copied] + used
    assert list(stream_of) == []


def test_memory_is_pinned_for_a_gpu_only(monkeypatch):
    pinned = []

    class RecordingLoader(DataLoader):
        def __init__(self, *arguments, **settings):
            pinned.append(settings["pin_memory"])
            super().__init__(*arguments, **{**settings, "pin_memory": False, "num_workers": 0, "prefetch_factor": None})

    monkeypatch.setattr(dataset, "DataLoader", RecordingLoader)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: -self)
    items = torch.tensor([10, 20, 30])
    for device, sign in (("cpu", 1), ("cuda", -1)):
        assert list(dataset.data_loader(items, [2, 0], 1, device)) == [30, 10]
        assert list(dataset.data_loader(items, [2, 0], 0, device)) == [30 * sign, 10 * sign]
    assert pinned == [False, True]


def test_a_batch_pins_every_tensor_that_it_has(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(id(self)) or self)
    original = batch(1)
    again = original.pin_memory()
    assert len(pinned) == 6 and again.token_ids is None
    assert all(getattr(again, field.name) is getattr(original, field.name) for field in fields(original))

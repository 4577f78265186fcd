"""Batches copied ahead of a GPU, whose streams are played by lists here: what waits for what."""

from contextlib import contextmanager
from dataclasses import fields

import torch
from torch.utils.data import DataLoader

from pipeline_lib.batch import Batch
from pipeline_lib.loading import dataset as loading
from pipeline_lib.training.prefetch import on_device

FILLED = ("product", "group", "text", "has_text", "label", "pixels")


def batch(number):
    row = torch.full((2,), number)
    return Batch(product=row, group=row, text=row, has_text=row > 0, label=row, pixels=row.float())


def test_without_a_gpu_batches_are_handed_on():
    whole = [batch(number) for number in range(3)]
    assert all(one is other for one, other in zip(on_device(whole, "cpu"), whole, strict=True))


class Copied:
    """A tensor on the GPU that is played."""

    def __init__(self, told, name):
        self.told, self.name = told, name

    def record_stream(self, stream):
        self.told.append(f"{self.name} is used by {stream.name}")


class Stream:
    def __init__(self, told, name):
        self.told, self.name = told, name

    def wait_stream(self, other):
        self.told.append(f"{self.name} waits for {other.name}")


def test_the_copy_has_a_stream_of_its_own_and_only_the_gpu_waits(monkeypatch):
    told = []
    lane, computing = Stream(told, "lane"), Stream(told, "computing")

    @contextmanager
    def stream(one):
        told.append(f"into {one.name}")
        yield
        told.append(f"out of {one.name}")

    def to(self, device):
        told.append(f"copy {int(self.product[0])} to {device}")
        return Batch(**{name: Copied(told, name) for name in FILLED})

    monkeypatch.setattr(torch.cuda, "Stream", lambda: lane)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: computing)
    monkeypatch.setattr(Batch, "to", to)
    stream_of = on_device((batch(number) for number in range(2)), "cuda")
    next(stream_of)
    copied = ["into lane", "copy 0 to cuda", "out of lane", "computing waits for lane"]
    used = [f"{name} is used by computing" for name in FILLED]
    assert told == copied + used  # and nothing of the second batch before it is asked for
    told.clear()
    next(stream_of)
    assert told == [line.replace("copy 0", "copy 1") for line in copied] + used
    assert list(stream_of) == []


def test_pinned_memory_is_asked_for_a_gpu_alone(monkeypatch):
    asked = []

    class Watched(DataLoader):
        def __init__(self, *arguments, **settings):
            asked.append(settings["pin_memory"])
            super().__init__(*arguments, **{**settings, "pin_memory": False})

    monkeypatch.setattr(loading, "DataLoader", Watched)
    for device in ("cpu", "cuda"):
        assert list(loading.data_loader([10, 20, 30], [2, 0], 0, device)) == [30, 10]
    assert asked == [False, True]


def test_a_batch_pins_what_it_has_and_nothing_else(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(id(self)) or self)
    whole = batch(1)
    again = whole.pin_memory()
    assert len(pinned) == 6 and again.token_ids is None
    assert all(getattr(again, field.name) is getattr(whole, field.name) for field in fields(whole))

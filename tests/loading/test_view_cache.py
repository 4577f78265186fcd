"""The cache of decoded views: the same pixels, decoded once, within a memory limit, with any number of workers."""

import io
import multiprocessing
import os

import numpy as np
import pytest
import torch
from drawn_view import drawn_view
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from pipeline_lib.inference.engine import _Photos
from pipeline_lib.loading import photo_views
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.view_cache import ViewCache
from pipeline_lib.transforms.image import AFTER_FIXED, FROM_PHOTO
from pipeline_lib.transforms.resizing import Resizing


class Photos:
    """A fake reader: photo `row` is a PNG of random pixels; `read_rows` records the rows that are read."""

    def __init__(self, count=12):
        rng = np.random.default_rng(0)
        self.images = [rng.integers(0, 256, (30, 40, 3), dtype=np.uint8) for _ in range(count)]
        self.read_rows = []

    def read(self, row):
        self.read_rows.append(row)
        stream = io.BytesIO()
        Image.fromarray(self.images[row]).save(stream, "PNG")
        return stream.getvalue()

    def read_all(self, rows):
        return map(self.read, rows)


def cache_of(rows, size=16, limit=1e6):
    return ViewCache(np.asarray(rows), size, limit)


@pytest.mark.parametrize("view", [*AFTER_FIXED, *FROM_PHOTO])
def test_pixels_are_equal_with_and_without_a_cache_and_are_decoded_once(view):
    plain, cached = Photos(), Photos()
    both = [PhotoViews(plain, 16, view, 0.5), PhotoViews(cached, 16, view, 0.5, cache_of(range(12)))]
    rows = np.array([3, 1, 3, 7])
    for epoch in range(3):
        seeds = [(0, epoch, int(row)) for row in rows]
        one, other = (views.load(rows, seeds) for views in both)
        assert torch.equal(one, other) and one.dtype == torch.uint8
        expected = [
            drawn_view(view, Image.fromarray(plain.images[row]), 16, seed, 0.5)
            for row, seed in zip(rows, seeds, strict=True)
        ]
        assert np.array_equal(one.numpy(), np.stack(expected))
    assert sorted(cached.read_rows) == ([1, 3, 7] if view in AFTER_FIXED else [1, 1, 1, 3, 3, 3, 7, 7, 7])


def test_the_fixed_view_is_resized_as_the_tower_wants_it_cached_or_not():
    views = PhotoViews(Photos(), 16, cache=cache_of([0]), resizing=Resizing("squash"))
    rows, seeds = np.array([0, 1]), [(0,)] * 2
    expected = [np.asarray(Image.fromarray(views.reader.images[row]).resize((16, 16))) for row in rows]
    for _ in range(2):
        assert np.array_equal(views.load(rows, seeds).permute(0, 2, 3, 1).numpy(), np.stack(expected))


def test_pixels_have_the_channels_last_memory_format():
    pixels = PhotoViews(Photos(), 16).load(np.arange(4), [(0,)] * 4)
    assert pixels.shape == (4, 3, 16, 16) and pixels.is_contiguous(memory_format=torch.channels_last)


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(1, 8), st.integers(0, 2000))
def test_the_limit_holds_and_a_row_with_a_slot_is_returned(rows, size, limit):
    cache = cache_of(np.array(rows, dtype=np.int64), size, limit)
    record = 3 * size * size + 1
    cached = sorted(set(rows))[: limit // record]
    assert cache.bytes == len(cached) * record <= limit
    for row in range(32):
        assert cache.get(row) is None
        cache.put(row, np.full((size, size, 3), row, np.uint8))
        view = cache.get(row)
        assert (view is not None) == (row in cached)
        assert view is None or (view == row).all()


def test_memory_is_allocated_for_stored_views_only():
    cache = cache_of(range(100_000), size=64, limit=1e9)
    cache.put(70_000, np.ones((64, 64, 3), np.uint8))
    assert os.fstat(cache._file).st_blocks * 512 <= 32_768 < cache.bytes
    assert cache.get(70_000).all() and cache.get(69_999) is None


def test_a_half_written_view_is_not_returned():
    cache = cache_of([0, 1])
    os.pwrite(cache._file, bytes([7]) * 100, 0)  # a worker was killed while writing
    assert cache.get(0) is None


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_view_that_one_worker_decodes_is_cached_for_all(start, monkeypatch):
    views = PhotoViews(Photos(), 16, cache=cache_of(range(12)))
    keys = [(0, np.arange(0, 6)), (0, np.arange(6, 12))]
    context = multiprocessing.get_context(start)
    dataset = _Photos(views, np.arange(12))
    decoded = list(DataLoader(dataset, sampler=keys, batch_size=None, num_workers=2, multiprocessing_context=context))
    monkeypatch.setattr(photo_views, "decode", lambda *_: pytest.fail("decoded again"))
    assert torch.equal(torch.cat(decoded), views.load(np.arange(12), [(0,)] * 12))


def test_the_file_is_closed_with_the_cache():
    cache = cache_of([0])
    file = cache._file
    del cache
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)

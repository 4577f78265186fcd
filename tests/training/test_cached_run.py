"""A run with a view cache gives the same weights as one that decodes every photo in each epoch."""

from dataclasses import replace

import pytest
from tiny_project import make_settings, write_project

from pipeline_lib.loading.view_cache import ViewCache
from pipeline_lib.training import loaders
from pipeline_lib.training.fold import train_fold
from pipeline_lib.training.fold_data import read_fold

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
    pytest.mark.usefixtures("isolated"),
]
RECORD = 3 * 32 * 32 + 1


@pytest.mark.parametrize(("augment", "photo"), [("none", "random"), ("jitter_flip", "first"), ("clip", "random")])
def test_weights_are_equal_bit_for_bit(tmp_path, towers, monkeypatch, augment, photo):
    """A cache for all photos, for five of them, and no cache."""
    inputs, caches = write_project(tmp_path / "project"), []
    monkeypatch.setattr(loaders, "ViewCache", lambda *rest: caches.append(ViewCache(*rest)) or caches[-1])
    settings = make_settings(*towers, workers=1, augment=augment, photo=photo, epochs=3)
    results = []
    for number, size in enumerate((0.1, 5 * RECORD / 1e9, 0)):
        (out := tmp_path / str(number)).mkdir()
        runtime = settings.runtime.model_copy(update={"cache_gb": size})
        train_fold(replace(settings, runtime=runtime), inputs, 0, str(number), out)
        results.append((out / "model.safetensors").read_bytes() + (out / "history.csv").read_bytes())
    assert results[0] == results[1] == results[2]
    assert len(caches) == 2 and caches[1].count == 5
    data = read_fold(inputs, 0, True)
    held_out = set(data.held_out.first_photo.tolist())
    trained = set(data.training.first_photo.tolist())
    cached = {row for row in range(60) if caches[0].get(row) is not None}
    if augment == "clip":
        assert cached == held_out  # random crops are not cached
    elif photo == "first":
        assert cached == held_out | trained
    else:
        assert held_out < cached and caches[0].count > len(held_out | trained)

"""A run that keeps decoded photos equals one that decodes them each epoch, and decodes none twice."""

from dataclasses import replace

import pytest
from tiny_project import make_settings, write_project

from pipeline_lib.loading.view_cache import ViewCache
from pipeline_lib.training import loaders as feeding
from pipeline_lib.training.fold import train_fold
from pipeline_lib.training.fold_data import read_fold

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
    pytest.mark.usefixtures("alone"),
]
RECORD = 3 * 32 * 32 + 1


@pytest.mark.parametrize(("augment", "photo"), [("none", "random"), ("jitter_flip", "first"), ("clip", "random")])
def test_weights_are_equal_bit_for_bit(tmp_path, towers, monkeypatch, augment, photo):
    """With room for all photos, for five of them, and for none."""
    inputs, caches = write_project(tmp_path / "project"), []
    monkeypatch.setattr(feeding, "ViewCache", lambda *rest: caches.append(ViewCache(*rest)) or caches[-1])
    settings = make_settings(*towers, augment=augment, photo=photo, epochs=3)
    made = []
    for number, room in enumerate((0.1, 5 * RECORD / 1e9, 0)):
        (out := tmp_path / str(number)).mkdir()
        runtime = settings.runtime.model_copy(update={"cache_gb": room})
        train_fold(replace(settings, runtime=runtime), inputs, 0, str(number), out)
        made.append((out / "model.safetensors").read_bytes() + (out / "history.csv").read_bytes())
    assert made[0] == made[1] == made[2]
    assert len(caches) == 2 and caches[1].count == 5
    data = read_fold(inputs, 0, True)
    held_out = set(data.held_out.first_photo.tolist())
    trained = set(data.training.first_photo.tolist())
    kept = {row for row in range(60) if caches[0].get(row) is not None}
    if augment == "clip":
        assert kept == held_out  # random crops are never kept
    elif photo == "first":
        assert kept == held_out | trained
    else:
        assert held_out < kept and caches[0].count > len(held_out | trained)

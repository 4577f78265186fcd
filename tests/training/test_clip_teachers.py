"""Distillation on clips: stored words, the frames of a batch, training as with the teacher in the loop, refusals.

Products with several photos stand for clips.
"""

import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from teacher_project import extract, keep
from tiny_project import make_settings, write_project
from watched_run import run

from bench.teacher_in_loop import TeacherInLoop
from pipeline_lib.features.teacher_models import teacher_models
from pipeline_lib.loading.dataset import ProductDataset, Sampling
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import photo_key, read_photos_fingerprint, text_key
from pipeline_lib.loading.teacher_rows import find_teacher_rows
from pipeline_lib.loading.text_views import TextViews
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.stores.teacher_store import open_teacher
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training import distillation
from pipeline_lib.training.distillation import read_distillation
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.transforms.tokenize import TextTokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")
# The weights of TeachCLIP; the contrastive one is a setting of info_nce.
CLIPS = {
    "coarse_distillation": {"weight": 1.0, "score": {"old": "x_clip"}},
    "frame_distillation": {"weight": 2.0},
}
SCORED = {"x_clip": CLIPS, "ts2_net": {**CLIPS, "coarse_distillation": {"weight": 1.0, "score": {"old": "ts2_net"}}}}


def frames_of(number: int) -> int:
    return 1 + number % 4


def settings_of(image, text, losses_on=CLIPS, **changes):
    """A student with frame attention over all photos, without dropout."""
    values = {"photo": "mean_pool", "info_nce": 0.2, "cross_entropy": 0.0, "epochs": 2, **changes}
    settings = make_settings(image, text, losses_on=losses_on, **values)
    model = settings.model.model_dump()
    model["frames"] |= {"pooling": "attention"}
    return replace(settings, model=type(settings.model).model_validate(model))


@pytest.fixture(scope="module")
def clips(tmp_path_factory, tiny_image_folder, tiny_text_folder):
    """Products of one to four photos, and the stores of a trained teacher, with words, in float16."""
    folder = tmp_path_factory.mktemp("clips")
    inputs = write_project(folder / "project", count=36, num_photos=frames_of)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DVC_ROOT", raising=False)
        patch.chdir(folder)
        settings = make_settings(tiny_image_folder, tiny_text_folder, cross_entropy=0.0, epochs=1)
        keep(run(settings, inputs, "first"), folder / "starts/old/0")
        stores = extract(folder / "starts/old", inputs, "old", dtype="float16", words_max_gb=1.0)
    return replace(inputs, teachers={"old": stores})


@pytest.fixture
def copied(clips, tmp_path):
    """The same project with copies of the stores, which a test may change."""
    shutil.copytree(clips.teachers["old"], tmp_path / "old")
    return replace(clips, teachers={"old": tmp_path / "old"})


def stores_of(inputs, fold=0):
    return open_teacher(inputs.teachers["old"], fold, read_photos_fingerprint(inputs.shards / "manifest.parquet"))


def teacher_of(inputs):
    (teacher,) = teacher_models(inputs.trunk.parents[1].parent / "starts/old")
    return teacher


def test_stored_words_are_the_teachers_tokens_of_each_text(clips):
    """Each text by itself, so without padding: as many words as tokens, each through projection and head."""
    teacher, stores = teacher_of(clips), stores_of(clips)
    model, texts = teacher.model, sorted(set(read_fold(clips, 0, False).training.texts))
    lengths = set()
    for text in texts:
        ids, mask = map(torch.as_tensor, teacher.tokenizer.encode_batch([text], 16))
        with torch.inference_mode():
            expected = model.embed_text(model.text.tokens(ids, mask))[0]
        values, found = stores.words.gather([text_key(text)])
        assert found.all() and values.shape[1:] == expected.shape
        assert np.allclose(values[0], expected, atol=1e-3)
        assert np.allclose(np.linalg.norm(np.float32(values[0]), axis=-1), 1, atol=1e-2)
        lengths.add(len(expected))
    assert len(lengths) > 1
    assert stores.words.header.encoder == stores.card.encoder


@pytest.mark.parametrize("photo", ["mean_pool", "random"])
def test_a_batch_has_the_frames_that_the_student_gets_and_the_words_of_its_text(clips, photo, tiny_text_folder):
    """The same teacher twice, side by side. Padding is 0 and masked; all rows have them in a group of processes too."""
    opened, products = [stores_of(clips)] * 2, read_fold(clips, 0, False).training
    outputs = ("frames", "text", "words")
    rows_of_stores = find_teacher_rows(opened, products, photo == "mean_pool", outputs)
    views, texts = PhotoViews(ShardReader(Manifest(clips.shards)), 32), TextViews(TextTokenizer(tiny_text_folder), 16)
    dataset = ProductDataset(products, views, texts, Sampling(3, photo, part=(1, 2)), teachers=rows_of_stores)
    rows = np.array([9, 2, 0, 7, 3])
    batch = dataset[(1, rows)]
    assert batch.teacher_image is None and batch.teacher_classes is None
    for place, row in enumerate(rows):
        numbers = range(products.num_photos[row])
        if photo == "random":
            drawn = np.random.default_rng((3, 1, int(row), 1)).integers(products.num_photos[row])
            numbers = [int(drawn) if products.num_photos[row] > 1 else 0]
        count = len(numbers)
        assert batch.frame_mask[place].tolist() == [True] * count + [False] * (batch.frame_mask.shape[1] - count)
        frames = opened[0].stores["image"].rows([photo_key(products.ids[row], number) for number in numbers])
        assert np.array_equal(batch.teacher_frames[place][:count], np.concatenate([frames, frames], axis=1))
        assert not batch.teacher_frames[place][count:].any()
        words, _ = opened[0].words.gather([text_key(products.texts[batch.text[place]])])
        mask = batch.teacher_word_mask[place]
        assert mask[: words.shape[1]].all() and not mask[words.shape[1] :].any() and mask.shape[1] == 2
        found = batch.teacher_words[place][: words.shape[1]]
        assert np.array_equal(found, np.float32(np.concatenate([words[0], words[0]], axis=1)))
        assert not batch.teacher_words[place][words.shape[1] :].any()
    assert batch.frame_mask.shape[1] == (max(products.num_photos[rows]) if photo == "mean_pool" else 1)


def history(out):
    rows = np.genfromtxt(out / "history.csv", delimiter=",", names=True)
    return {name: rows[name] for name in (*CLIPS, "info_nce", "total", "val_loss")}


@pytest.mark.parametrize("score", SCORED)
def test_training_with_a_stored_teacher_equals_training_with_it_in_the_loop(
    clips, isolated, towers, score, monkeypatch
):
    """All losses of all epochs, to the rounding of float16 stores; so do the losses of the held-out fold."""
    settings = settings_of(*towers, losses_on=SCORED[score])
    stored = history(run(settings, clips, "stored"))
    views = PhotoViews(ShardReader(Manifest(clips.shards)), 32)
    monkeypatch.setattr(
        distillation, "find_teacher_rows", lambda _, products, *__: TeacherInLoop(teacher_of(clips), views, products)
    )
    in_loop = history(run(settings, clips, "in-loop"))
    for name, values in stored.items():
        assert np.allclose(values, in_loop[name], rtol=1e-3, atol=1e-3), (name, values, in_loop[name])
    assert stored["total"][-1] < stored["total"][0] and stored["coarse_distillation"][0] > 0.05


def test_accumulated_batches_have_the_losses_of_one_large_batch(clips, isolated, towers):
    """24 clips in one batch, or in three with other longest clips and texts: the same losses at an lr of 0."""
    values = []
    for name, sizes in (("once", {"batch_size": 24}), ("joined", {"batch_size": 8, "accumulate": 3})):
        settings = settings_of(*towers, tower_lr=0.0, head_lr=0.0, epochs=1, unfreeze_layers=0, **sizes)
        values.append(
            {key: value.tolist() for key, value in history(run(settings, clips, name)).items() if "val" not in key}
        )
    for key, value in values[0].items():
        assert value == pytest.approx(values[1][key], rel=1e-5), key


def test_words_are_stored_only_if_they_are_asked_for(clips, tmp_path):
    start = clips.trunk.parents[1].parent / "starts/old"
    folder = extract(start, replace(clips, trunk=tmp_path / "features/trunk"), "old", dtype="float16")
    assert {path.name for path in (folder / "0").iterdir() if path.is_dir()} == {"image", "image-mean", "text"}
    assert open_teacher(folder, 0, stores_of(clips).card.photos).words is None


def test_words_that_take_too_much_space_are_refused_before_the_tower_runs(clips, tmp_path, monkeypatch):
    start = clips.trunk.parents[1].parent / "starts/old"
    message = (
        r"features.max_gb = 1e-07, but the words of a teacher take [\d.]+ KB as float16 \(\d+ tokens x 8, of \d+ te"
    )
    with pytest.raises(ValueError, match=message) as error:
        extract(start, replace(clips, trunk=tmp_path / "f/trunk"), "old", dtype="float16", words_max_gb=1e-7)
    assert "\n" not in str(error.value)


def test_a_teacher_that_fuses_its_towers_has_no_words(clips, towers, tmp_path, monkeypatch):
    settings = make_settings(*towers)
    model = type(settings.model).model_validate(settings.model.model_dump() | {"fusion": "early"})
    sources = resolve_towers(model)
    fused = replace(teacher_of(clips), model=build_model(describe(model, sources, True, []), sources).eval())
    monkeypatch.setattr("pipeline_lib.features.teachers.teacher_models", lambda _: [fused])
    with pytest.raises(ValueError, match="model.fusion = early, so its tokens have no place in the joint space; set f"):
        extract(tmp_path, replace(clips, trunk=tmp_path / "f/trunk"), "old", words_max_gb=1.0)


def distillation_of(inputs, settings):
    data = read_fold(inputs, 0, False)
    description = {"embedding_dim": 8, "classes": data.classes}
    return read_distillation(settings.losses, inputs, 0, data, description, mean_pool=True)


def test_outputs_of_frames_that_were_sampled_in_another_way_are_refused(clips, towers, tmp_path):
    """The same products, one frame less of one clip; and the same number of frames, of which one is another."""
    settings = settings_of(*towers)
    assert distillation_of(clips, settings).training is not None
    manifest = clips.shards / "manifest.parquet"
    for name, shown in (("fewer", lambda n: frames_of(n) - (n == 7)), ("other", frames_of)):
        inputs = write_project(tmp_path / name, count=36, num_photos=shown)
        if name == "other":
            path = inputs.shards / "manifest.parquet"
            table = pl.read_parquet(path).with_columns(
                size=pl.col("size") + (pl.int_range(pl.len()) == 5).cast(pl.Int64)
            )
            table.write_parquet(path)
        assert read_photos_fingerprint(manifest) != read_photos_fingerprint(inputs.shards / "manifest.parquet")
        other = replace(clips, shards=inputs.shards)
        message = "old/0: the outputs are of other photos, or of frames that were sampled in another way, than those in"
        with pytest.raises(ValueError, match=message) as error:
            distillation_of(other, settings)
        assert "\n" not in str(error.value) and "run `dvc repro`" in str(error.value)


def test_a_teacher_without_words_is_refused_for_a_score_that_compares_them(copied, isolated, towers):
    shutil.rmtree(copied.teachers["old"] / "0/words")
    message = (
        "score.old = x_clip compares words, but teacher 'old' has none .with words: none.; set features.teacher_wo"
    )
    with pytest.raises(ValueError, match=message):
        run(settings_of(*towers), copied, "refused")

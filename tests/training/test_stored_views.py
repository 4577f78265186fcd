"""Stored augmented views equal those of a slow loop, and training with them never runs the trunk."""

import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch
from drawn_view import drawn_view
from tiny_project import PARAMS, make_settings, write_project
from watched_run import check_resumes, losses, run

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.progress import Progress
from pipeline_lib.features.trunk import TrunkOptions, extract_trunk
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.loading.dataset import ProductDataset, Sampling
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.text_views import TextViews
from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.stores.activations import open_activations
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.store import MATRIX, open_store
from pipeline_lib.towers.kinds import build_image_tower, resolve_towers
from pipeline_lib.towers.weights import load_strictly
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.training.run_start import resolve_initial_weights
from pipeline_lib.training.stored_inputs import find_stored_inputs
from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.tokenize import TextTokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
    pytest.mark.usefixtures("isolated"),
]
CLIP = DrawnViews("clip", 0.6, 3, 7)
ACTIVATIONS = "stored activations before stages.3, the last 2 of 7 layer groups"
NONE, LAST = {"image": [None] * 7, "text": [None] * 4}, {"image": [None] * 5 + [0, 0], "text": [None, None, 0, 0]}


@pytest.fixture
def inputs(tmp_path):
    return write_project(tmp_path / "project")


def store(settings, inputs, drawn=CLIP, batch_size=16, out=None, max_gb=1e9, **more):
    data = read_fold(inputs, 0, True)
    queries = pl.read_parquet(inputs.catalogue / "queries.parquet")["text"].to_list()
    texts = ["", *data.training.texts, *data.held_out.texts, *queries]
    photos = pl.read_parquet(inputs.shards / "manifest.parquet")
    reader, engine = ShardReader(Manifest(inputs.shards)), InferenceEngine("cpu", batch_size, 0, "fp32")
    sources, extracted = resolve_towers(settings.model), ExtractionInputs(reader, photos, texts)
    options = TrunkOptions(2, max_gb, drawn)
    extract_trunk(sources, extracted, out or inputs.trunk, ExtractionRun(engine, "float32", **more), options)


def opened(folder, name="image-views"):
    return open_store(folder / name), open_activations(folder / f"{name}-boundary")


def matrices(folder):
    return {path.parent.name: path.read_bytes() for path in sorted(folder.rglob(MATRIX))}


@pytest.mark.parametrize("drawn", [CLIP, DrawnViews("jitter_flip", None, 2, 0)], ids=str)
def test_the_views_equal_those_of_a_slow_loop_and_differ(inputs, towers, tmp_path, drawn):
    settings = make_settings(*towers)
    store(settings, inputs, drawn)
    source, reader = resolve_towers(settings.model)["image"], ShardReader(Manifest(inputs.shards))
    load_strictly(tower := build_image_tower(source.description).eval(), source.state, "here", source.new)
    pooled, activations = opened(inputs.trunk)
    assert pooled.ids == activations.ids == open_store(inputs.trunk / "image").ids
    assert pooled.header.views == activations.header.views == drawn
    for photo in range(0, len(pooled.ids), 5):
        outputs = []
        for view in range(drawn.count):
            picture = decode(next(iter(reader.read_all([photo]))), 32)
            pixels = drawn_view(drawn.augment, picture, 32, (drawn.seed, photo, view), drawn.crop_scale or 1.0)
            with torch.inference_mode():
                activation = tower.forward_prefix(torch.from_numpy(pixels.copy())[None], 2)
                output = tower.forward_suffix(activation, 2).numpy()
            item = [pooled.ids[photo]], np.array([view])
            assert np.allclose(pooled.rows(*item), output, atol=1e-5)
            assert np.allclose(activations.gather(*item)[0], activation.numpy(), atol=1e-5)
            outputs.append(output)
        assert all(np.abs(one - other).max() > 1e-4 for one, other in pairwise(outputs))

    store(settings, inputs, drawn, out=tmp_path / "again")
    assert matrices(tmp_path / "again") == matrices(inputs.trunk)
    store(settings, inputs, drawn, batch_size=5, out=tmp_path / "small")
    for one, other in zip(opened(inputs.trunk), opened(tmp_path / "small"), strict=True):
        assert np.allclose(one.matrix, other.matrix, atol=1e-5)
    store(settings, inputs, None, out=tmp_path / "plain")
    plain = matrices(tmp_path / "plain")
    assert plain.keys() == {"image", "image-boundary", "text", "text-boundary"}
    assert plain.items() <= matrices(inputs.trunk).items()


class SlowViews(PhotoViews):
    """Decodes and augments in each step the views that a store of CLIP holds."""

    def load(self, rows, seeds):
        if self.view == "none":
            return super().load(rows, seeds)
        numbers = [int(np.random.default_rng((*seed, 5)).integers(CLIP.count)) for seed in seeds]
        return super().load(rows, [(CLIP.seed, int(row), number) for row, number in zip(rows, numbers, strict=True)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unfreeze_layers": 2}, ACTIVATIONS),
        ({"unfreeze_layers": 0, "photo": "mean_pool"}, "its stored output, no layer is trained"),
    ],
    ids=["boundary", "pooled"],
)
def test_losses_equal_those_of_a_run_that_encodes_the_same_views(inputs, towers, monkeypatch, changes, message):
    settings = make_settings(*towers, augment="clip", **changes)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline_lib.loading.photo_views.PhotoViews", SlowViews)
        slow = run(make_settings(*towers, augment="clip", use_stored_features=False, **changes), inputs, "slow")
    store(settings, inputs)
    monkeypatch.setattr("pipeline_lib.loading.photo_views.decode", lambda *_: pytest.fail("a photo was decoded"))
    stored = run(settings, inputs, "stored")
    assert np.allclose(losses(slow), losses(stored), rtol=1e-5, atol=1e-5)
    assert read_object(stored / "trainable.json")["starts"][0] == f"image: from 3 views a photo (clip), {message}"


def test_an_interrupted_run_with_mixup_resumes_with_the_same_views(inputs, towers, monkeypatch):
    settings = make_settings(*towers, augment="clip", mix="mixup", info_nce=0.0)
    store(settings, inputs)
    check_resumes(settings, inputs, monkeypatch)


def test_processes_read_the_same_views_and_epochs_different_ones(inputs, towers):
    settings = make_settings(*towers, augment="clip")
    store(settings, inputs)
    stored = find_stored_inputs(settings, inputs, resolve_initial_weights(settings, None), NONE).features
    data, rows = read_fold(inputs, 0, True).training, np.arange(3, 20)

    def features(part=(0, 1), epoch=1, stored=stored):
        texts = TextViews(TextTokenizer(towers[1]), 16)
        dataset = ProductDataset(data, None, texts, Sampling(3, part=part), stored)
        return dataset[epoch, rows].image_features

    assert torch.equal(torch.cat([features((rank, 3)) for rank in range(3)]), features())
    views = stored.views.matrix.reshape(-1, CLIP.count, stored.views.header.dim)
    which = []
    for epoch in range(4):
        matches = features(epoch=epoch).numpy()[:, None] == views[data.first_photo[rows]]
        assert (matches.all(axis=2).sum(axis=1) == 1).all()
        which.append(matches.all(axis=2).argmax(axis=1))
    assert {number for one in which for number in one.tolist()} == {0, 1, 2} and len(set(map(tuple, which))) == 4
    fixed = open_store(inputs.trunk / "image").matrix[data.first_photo[rows]]
    assert np.array_equal(features(stored=replace(stored, views=None)), fixed)


def stored_inputs(settings, inputs, towers, **train):
    changed = replace(settings, train=make_settings(*towers, **train).train)
    return find_stored_inputs(changed, inputs, resolve_initial_weights(settings, None), LAST)


def test_stored_views_of_another_augmentation_are_not_read(inputs, towers):
    settings = make_settings(*towers)
    store(settings, inputs)
    for train, message in (
        ({"augment": "grayscale_blur"}, f"pixels, train.augment = grayscale_blur, but {CLIP} are stored"),
        ({"augment": "clip", "crop_scale": 0.5}, f"pixels, train.crop_scale = 0.5, but {CLIP} are stored with 0.6"),
        ({"augment": "clip", "mix": "cutmix"}, "pixels, train.mix = cutmix"),
        ({"augment": "clip"}, f"{CLIP}, {ACTIVATIONS}"),
        ({}, ACTIVATIONS),
    ):
        stored = stored_inputs(settings, inputs, towers, **train)
        if message.startswith("pixels"):
            message += f"; in validation from {ACTIVATIONS}"
        assert stored.messages[0] == f"image: from {message}"
        assert stored.held_out.image is not None and stored.held_out.views is None
        assert (stored.features.image is None) == message.startswith("pixels")
        assert (stored.features.views is not None) == message.startswith("3 views")
    for folder in ("image-views", "image-views-boundary"):
        header = inputs.trunk / folder / "header.json"
        header.write_text(header.read_text().replace('"seed": 7', '"seed": 8'))
    with pytest.raises(ValueError, match=r"image-views-boundary: made by preprocessing \w+, but \w+ is expected"):
        stored_inputs(settings, inputs, towers, augment="clip")
    shutil.rmtree(inputs.trunk)
    store(settings, inputs, DrawnViews("jitter_flip", None, 1, 0))
    message = "image: from 1 view a photo (jitter_flip), stored activations"
    stored = stored_inputs(settings, inputs, towers, augment="jitter_flip", crop_scale=0.2)
    assert stored.messages[0].startswith(message)
    shutil.rmtree(inputs.trunk)
    store(settings, inputs, None)
    message = "image: from pixels, train.augment = clip, but no augmented views are stored; in validation from "
    message += ACTIVATIONS
    assert stored_inputs(settings, inputs, towers, augment="clip").messages[0] == message


def test_a_killed_extraction_resumes_among_the_views_of_a_photo(inputs, towers, tmp_path, monkeypatch):
    """42 photos, the first 16 in one shard: their 48 views end inside a batch of 5."""
    settings, messages = make_settings(*towers), []
    (progress := tmp_path / "progress").mkdir()
    save = Progress.save

    def interrupted(self, photos, *flushes):
        save(self, photos, *flushes)
        if self.path.stem == "image-views" and self.path.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store(settings, inputs, batch_size=5, progress=progress)
    monkeypatch.setattr(Progress, "save", save)
    assert not (inputs.trunk / "image-views/header.json").exists()
    store(settings, inputs, batch_size=5, progress=progress, log=messages.append)
    assert messages[1:] == [
        "image: resumes after 42 of 42 photos",
        "image views: resumes after 50 of 126 views",
    ]
    store(settings, inputs, batch_size=5, out=tmp_path / "uninterrupted")
    assert matrices(tmp_path / "uninterrupted") == matrices(inputs.trunk)
    for one, other in zip(opened(tmp_path / "uninterrupted"), opened(inputs.trunk), strict=True):
        assert one.ids == other.ids and one.header == other.header


def test_the_size_limit_counts_all_views(inputs, towers, monkeypatch):
    settings, messages = make_settings(*towers), []
    message = r"42 photos, fixed and 3 views a photo \(clip\): output .*fewer features.trunk.views or features.dtype = "
    message += "float16"
    with monkeypatch.context() as patch, pytest.raises(ValueError, match=message):
        patch.setattr("pipeline_lib.features.photos.encode_photos", lambda *_: pytest.fail("a tower was run"))
        store(settings, inputs, max_gb=1e-5, log=messages.append)
    assert not inputs.trunk.exists() and not messages
    store(settings, inputs, log=messages.append)
    photos = sum(len(data) for name, data in matrices(inputs.trunk).items() if name.startswith("image"))
    fixed = sum(len(data) for name, data in matrices(inputs.trunk).items() if name in ("image", "image-boundary"))
    assert abs(photos / fixed - 4) < 0.1
    with pytest.raises(ValueError, match=r"features.max_gb"):
        store(settings, inputs, max_gb=0.9 * sum(map(len, matrices(inputs.trunk).values())) / 1e9)
    store(settings, inputs, None, max_gb=0.9 * sum(map(len, matrices(inputs.trunk).values())) / 1e9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": 4}, "features.trunk.views = 4: features.trunk.augment = none gives one view per image"),
        ({"augment": "clip", "views": 65}, "features.trunk.views = 65: input should be less than or equal to 64"),
        ({"augment": "clip", "views": 0}, "features.trunk.views = 0: input should be greater than or equal to 1"),
        ({"augment": "crop"}, "features.trunk.augment = 'crop': input should be 'none', 'clip'"),
    ],
)
def test_invalid_settings_are_refused_in_one_line(changes, message):
    params = load_params(PARAMS)
    params["features"]["trunk"] |= changes
    with pytest.raises(ValueError) as error:
        parse_section(FeaturesParams, params)
    assert str(error.value).startswith(f"params.yaml: {message}") and "\n" not in str(error.value)

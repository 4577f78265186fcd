"""Folds with a trained frame pooling: training, validation and prediction pool alike, from pixels and from stores."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from teacher_project import extract, keep
from tiny_project import make_settings, write_project
from watched_run import Watch, run, started

from pipeline_lib.artifacts.paths import FRAME_WEIGHTS
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.trunk import extract_trunk
from pipeline_lib.inference.embeddings import write_embeddings
from pipeline_lib.inference.engine import InferenceEngine, whole_products
from pipeline_lib.inference.predict import Predictor
from pipeline_lib.inference.stored_layers import find_stored_layers
from pipeline_lib.inference.wise_ft import load_interpolated
from pipeline_lib.loading.dataset import ProductDataset, Sampling
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.text_views import TextViews
from pipeline_lib.models.frame_pooling import without_frames
from pipeline_lib.models.saved import load_model, read_state
from pipeline_lib.params.model import ModelParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.stores.store import open_store
from pipeline_lib.stores.teacher_store import MEAN
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.fold import train_fold
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.transforms.tokenize import TextTokenizer

pytestmark = [pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"), pytest.mark.usefixtures("isolated")]
FRAMES = {"pooling": "attention", "layers": 1, "heads": 2, "max_frames": 4, "temperature": 0.1}
FROZEN = {"unfreeze_layers": 0, "epochs": 2, "photo": "mean_pool"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("clips") / "project", 24, lambda _: 3)


def settings_of(towers, frames=FRAMES, **train):
    settings = make_settings(*towers, **{**FROZEN, **train})
    model = {**settings.model.model_dump(), **({"frames": frames} if frames else {})}
    return replace(settings, model=ModelParams.model_validate(model))


def views_of(inputs, size=32):
    return PhotoViews(ShardReader(Manifest(inputs.shards)), size)


def predictor_of(out, inputs, block, flip=False):
    engine = InferenceEngine("cpu", block, 0, "fp32")
    return Predictor(
        load_model(out).model, TextTokenizer(out / "tokenizer"), views_of(inputs), engine, flip, "mean_pool"
    )


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory, tiny_image_folder, tiny_text_folder):
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRINE_CHECKPOINTS", str(tmp_path_factory.mktemp("checkpoints")))
        train_fold(settings_of((tiny_image_folder, tiny_text_folder)), inputs, 0, "trained", folder)
    return folder


def test_training_and_prediction_pool_alike_and_weights_are_stored(inputs, trained, tmp_path):
    products = read_fold(inputs, 0, True).held_out
    dataset = ProductDataset(products, views_of(inputs), TextViews(TextTokenizer(trained / "tokenizer"), 16),
                             Sampling(0, "mean_pool"))  # fmt: skip
    model = load_model(trained).model
    with torch.no_grad():
        validated = model(dataset[0, np.arange(len(products))])
        expected = (validated.frame_logits.view(-1, 3) / FRAMES["temperature"]).softmax(dim=1).flatten()
    queries = pl.DataFrame({"query_id": ["q"], "text": ["red mug"]})
    # Blocks of 4 photos cut products of 3 photos.
    write_embeddings(predictor_of(trained, inputs, 4), products, queries, tmp_path, "model", "view")
    stored = open_store(tmp_path / "products")
    assert np.allclose(stored.rows(products.ids), validated.image_embedding.numpy(), atol=1e-3)
    probabilities = open_store(tmp_path / "probabilities").rows(products.ids)
    assert np.allclose(probabilities, validated.class_logits.softmax(-1).numpy(), atol=1e-5)
    weights = open_store(tmp_path / FRAME_WEIGHTS)
    assert weights.ids == [f"{key}#{photo}" for key in products.ids for photo in range(3)]
    assert np.allclose(weights.matrix[:, 0], expected.numpy(), atol=1e-5)
    assert (expected - 1 / 3).abs().max() > 1e-3, "the attention was not trained"


@pytest.mark.parametrize("flip", [False, True])
def test_prediction_in_blocks_is_that_of_all_photos_at_once(inputs, trained, flip):
    products = read_fold(inputs, 0, True).training
    found = []
    for block in (2, 7, 1000):
        blocks = list(predictor_of(trained, inputs, block, flip).predict(products))
        assert [one.start for one in blocks] == np.cumsum([0, *(len(one.embeddings) for one in blocks)])[:-1].tolist()
        found.append([np.concatenate(parts) for parts in zip(
            *((one.embeddings, one.probabilities, one.frame_weights) for one in blocks), strict=True
        )])  # fmt: skip
        assert len(blocks) > 1 or block == 1000
    for values in zip(*found, strict=True):
        assert np.allclose(values[0], values[2], atol=1e-5) and np.allclose(values[1], values[2], atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_blocks_are_cut_where_products_end(size):
    counts = np.random.default_rng(size).integers(1, 6, 40)
    rows = torch.arange(int(counts.sum()))[:, None]
    blocks = ((start, rows[start : start + size]) for start in range(0, len(rows), size))
    ends, next_product = np.cumsum(counts), 0
    for products, photos in whole_products(blocks, counts):
        first, last = ends[products.start] - counts[products.start], ends[products.stop - 1]
        assert products.start == next_product and torch.equal(photos, rows[first:last])
        assert len(photos) <= size + counts.max()
        next_product = products.stop
    assert next_product == len(counts)


def test_only_the_head_trains_from_stored_frames(inputs, towers, tmp_path, monkeypatch):
    """Frozen towers: the frames come from the trunk's store, and no tower runs in training or prediction."""
    settings = settings_of(towers)
    data = read_fold(inputs, 0, True)
    photos = pl.read_parquet(inputs.shards / "manifest.parquet")
    engine = InferenceEngine("cpu", 16, 0, "fp32")
    extracted = ExtractionInputs(
        ShardReader(Manifest(inputs.shards)), photos, ["", *data.training.texts, *data.held_out.texts]
    )
    trunk = tmp_path / "trunk"
    extract_trunk(resolve_towers(settings.model), extracted, trunk, ExtractionRun(engine, "float32"))
    from_pixels = load_model(run(settings, inputs, "pixels")).card["run"]["best"]
    monkeypatch.setattr(PhotoViews, "load", lambda *_: pytest.fail("a photo was read"))
    watch = Watch(monkeypatch)
    out = run(settings, replace(inputs, trunk=trunk), "stored")
    card = load_model(out).card
    assert card["run"]["stored_features"] == {"image": "pooled", "text": "pooled"}
    assert card["run"]["best"]["total"] == pytest.approx(from_pixels["total"], abs=1e-3)
    changed = {name for name, value in watch.start.items() if not torch.equal(value, watch.epochs[-1][name])}
    assert not any(name.startswith(("image.", "text.")) for name in changed)
    own = [name for name in watch.start if name.startswith("frames.")]
    assert set(own) - {"frames.attention.2.bias"} <= changed, "a shift of all logits changes no weight"
    rates = watch.rates[0]
    assert {rates[name] for name in own} == {rates["head.image_projection.weight"]}
    report = read_object(out / "trainable.json")["towers"][-1]
    others = sum(value.numel() for name, value in watch.start.items() if not name.startswith(("image.", "text.")))
    assert report["tower"] == "head" and report["total"] == report["trainable"] == others
    stored = find_stored_layers(card, trunk, tmp_path / "none", 32, False)
    saved = load_interpolated(out, 1.0, stored.dims())
    predictor = Predictor(saved.model, TextTokenizer(out / "tokenizer"), None, engine, False, "mean_pool", stored)
    assert all(len(block.frame_weights) == 3 * len(block.embeddings) for block in predictor.predict(data.held_out))


def test_a_start_of_photos_gets_a_new_pooling_that_changes_nothing(inputs, towers, trained, monkeypatch):
    settings = settings_of(towers, frames=None)
    start = run(settings, inputs, "start")
    watch = Watch(monkeypatch)
    again = run(settings_of(towers, init_from=str(start)), inputs, "again")
    first, before = watch.start, read_state(start)
    assert all(torch.equal(first[name], value) for name, value in before.items())
    assert not first["frames.temporal.out.weight"].any() and (again / "model.json").is_file()
    # Half-way between start and end: the heads of the start are interpolated, the pooling stays as trained.
    half, end = load_interpolated(again, 0.5).model.state_dict(), read_state(again)
    for name, value in half.items():
        expected = torch.lerp(before[name], end[name], 0.5) if name in before else end[name]
        assert torch.allclose(value, expected, atol=1e-6), name
    assert without_frames(half).keys() == before.keys()
    # A start with a pooling is loaded with it, and is refused by a model without.
    run(settings_of(towers, init_from=str(trained)), inputs, "more")
    with pytest.raises(ValueError, match=r"frames.attention.0.bias is not in this model"):
        run(settings_of(towers, frames=None, init_from=str(trained)), inputs, "refused")


def test_a_teacher_with_a_frame_pooling_teaches_what_it_predicts(inputs, towers, trained, tmp_path):
    teacher = extract(keep(trained, tmp_path / "starts/temporal"), inputs, "temporal")
    products = read_fold(inputs, 0, True).training
    blocks = list(predictor_of(trained, inputs, 1000).predict(products))
    expected = np.concatenate([block.embeddings for block in blocks])
    (folder,) = [path.parent for path in sorted(teacher.rglob(MEAN["image"]))]
    assert np.allclose(open_store(folder / MEAN["image"]).rows(products.ids), expected, atol=2e-3)


def test_a_product_with_more_frames_than_positions_is_refused(inputs, towers):
    settings = settings_of(towers, frames={**FRAMES, "max_frames": 2})
    with pytest.raises(ValueError, match=r"a product has 3 photos or frames, but model.frames.max_frames = 2"):
        run(settings, started(settings, inputs), "refused")

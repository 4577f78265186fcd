"""Folds trained as classifiers: products without a photo, with several, and blended ones."""

import numpy as np
import polars as pl
import pytest
import torch
from tiny_project import make_settings, write_project
from watched_run import run

from pipeline_lib.execution.process_group import SINGLE_PROCESS
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.trunk import extract_trunk
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.inference.predict import Predictor
from pipeline_lib.loading.dataset import ProductDataset, Sampling
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.stored_features import NOTHING_STORED
from pipeline_lib.loading.text_views import TextViews
from pipeline_lib.models.saved import load_model
from pipeline_lib.models.tower_kinds import resolve_towers
from pipeline_lib.params.model import ModelParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.training.fold import _check_mix
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.training.model_setup import build_bundle, make_task
from pipeline_lib.transforms.tokenize import TextTokenizer

pytestmark = [pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"), pytest.mark.usefixtures("alone")]
ONLY = {"info_nce": 0.0, "epochs": 1}
FROZEN = {**ONLY, "unfreeze_layers": 0}


@pytest.fixture
def inputs(tmp_path):
    return write_project(tmp_path / "project")


def store(settings, inputs):
    photos = pl.read_parquet(inputs.shards / "manifest.parquet")
    data = read_fold(inputs, 0, True)
    texts = ["", *data.training.texts, *data.held_out.texts]
    engine = InferenceEngine("cpu", 16, 0, "fp32")
    reader = ShardReader(Manifest(inputs.shards))
    sources, extracted = resolve_towers(settings.model), ExtractionInputs(reader, photos, texts)
    extract_trunk(sources, extracted, inputs.trunk, ExtractionRun(engine, "float32"))


def batches(settings, inputs, **changes):
    data = read_fold(inputs, 0, True)
    views = PhotoViews(ShardReader(Manifest(inputs.shards)), 32)
    tokenizer = TextTokenizer(resolve_towers(settings.model)["text"].description["tokenizer"])
    return ProductDataset(data.training, views, TextViews(tokenizer, 16), Sampling(3, **changes)), data


def without_photos(inputs, *ids):
    """The products lose their media; what the shards hold of them stands for the black photo."""
    path = inputs.catalogue / "products.parquet"
    table = pl.read_parquet(path)
    bare = pl.when(pl.col("product_id").is_in(ids)).then(pl.lit([], dtype=pl.List(pl.String))).otherwise("media")
    table.with_columns(media=bare).write_parquet(path)


def learned(settings):
    model = {**settings.model.model_dump(), "missing_image": "learned"}
    object.__setattr__(settings, "model", ModelParams.model_validate(model))
    return settings


def test_a_missing_image_is_learned_and_predicted_with(inputs, towers):
    without_photos(inputs, "p0", "p6", "p7", "p12")
    settings = learned(make_settings(*towers, **{**ONLY, "epochs": 2}))
    out = run(settings, inputs, "learned")
    model = load_model(out).model
    torch.manual_seed(settings.seed)
    begun = build_bundle(settings, None, read_fold(inputs, 0, True), False).model.missing_image
    assert model.missing_image.shape == begun.shape and (model.missing_image != begun).all()
    data = read_fold(inputs, 1, True)
    assert data.training.has_photo is not None and not data.training.has_photo.all()
    views = PhotoViews(ShardReader(Manifest(inputs.shards)), 32)
    tokenizer = TextTokenizer(out / "tokenizer")
    predictor = Predictor(model, tokenizer, views, InferenceEngine("cpu", 7, 0, "fp32"), False, "first")
    found = np.concatenate([block.probabilities for block in predictor.predict(data.training)])
    for row in (data.training.ids.index("p0"), data.training.ids.index("p1")):
        text = data.training.texts[data.training.text[row]]
        ids, mask = (torch.as_tensor(value) for value in tokenizer.encode_batch([text], 16))
        pixels = views.load(data.training.first_photo[[row]], [(0,)])
        image = model.encode_image(pixels) if data.training.ids[row] == "p1" else model.missing_image[None]
        with torch.no_grad():
            wanted = model.classify({"image": image, "text": model.encode_text(ids, mask)}).softmax(-1)
        assert np.allclose(found[row], wanted.numpy()[0], atol=1e-5)


def test_all_photos_of_a_product_are_averaged_from_pixels_as_from_the_store(inputs, towers):
    settings = make_settings(*towers, **FROZEN, photo="mean_pool")
    made, data = batches(settings, inputs, photo="mean_pool")
    rows = np.arange(len(data.training))
    batch = made[0, rows]
    assert batch.num_photos.tolist() == data.training.num_photos.tolist() and 2 in batch.num_photos.tolist()
    assert len(batch.pixels) == data.training.num_photos.sum()
    by_hand = run(settings, inputs, "pixels")
    store(settings, inputs)
    from_store = run(settings, inputs, "stored")
    cards = [load_model(out).card["run"] for out in (by_hand, from_store)]
    assert [card["stored_features"] for card in cards] == [{}, {"image": "pooled", "text": "pooled"}]
    assert cards[0]["best"]["val_loss"] == pytest.approx(cards[1]["best"]["val_loss"], abs=1e-4)
    assert cards[0]["best"]["total"] == pytest.approx(cards[1]["best"]["total"], abs=1e-4)


def test_a_blend_of_stored_features_and_one_of_pixels_and_both_shares_reach_the_labels(inputs, towers):
    settings = make_settings(*towers, **FROZEN, mix="mixup", mix_alpha=1.0)
    made, data = batches(settings, inputs, mix="mixup", mix_alpha=1.0)
    rows = np.arange(16)
    batch = made[1, rows]
    partner = batch.mix_with.numpy()
    assert batch.mixed_label.tolist() == data.training.label[rows[partner]].tolist()
    unknown = data.training.label[rows] < 0
    assert unknown.any() and (batch.mix_share.numpy()[unknown] == 1).all() and not unknown[partner[~unknown]].any()
    store(settings, inputs)
    stored = run(settings, inputs, "stored")
    assert load_model(stored).card["run"]["stored_features"]
    cut = run(make_settings(*towers, **FROZEN, mix="cutmix"), inputs, "cut")
    assert load_model(cut).card["run"]["stored_features"] == {"text": "pooled"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"info_nce": 1.0}, "blends two products, which match neither's text nor image; set train.mix = none"),
        ({"photo": "mean_pool"}, "train.photo = mean_pool has several of a product; set one of them to none, or first"),
    ],
)
def test_what_cannot_be_blended_is_one_line(changes, told, inputs, towers):
    with pytest.raises(ValueError, match=told):
        run(make_settings(*towers, **{**ONLY, "mix": "mixup", **changes}), inputs, "refused")


def test_blends_want_one_process(towers):
    settings = make_settings(*towers, **ONLY, mix="cutmix")
    _check_mix(settings, False, SINGLE_PROCESS)
    two = type("Two", (), {"world": 2})()
    with pytest.raises(ValueError, match="blends products of one process, these are 2; start one"):
        _check_mix(settings, False, two)


@pytest.mark.parametrize("metric", ["top3", "macro_f1", "balanced_accuracy"])
def test_the_best_epoch_is_that_of_any_figure(metric, inputs, towers):
    card = load_model(run(make_settings(*towers, **{**ONLY, "epochs": 2}, best_metric=metric), inputs, metric)).card
    assert 0 <= card["run"]["best"][metric] <= 1


def test_a_start_that_never_trained_its_towers_reads_the_store(inputs, towers):
    """What makes the second of two phases with frozen towers as fast as the first."""
    settings = make_settings(*towers, **FROZEN)
    store(settings, inputs)
    run(settings, inputs, "first")
    again = load_model(run(make_settings(*towers, **FROZEN, init_from="first"), inputs, "again")).card["run"]
    assert again["stored_features"]


def test_class_weights_count_the_training_products_of_the_fold_alone(inputs, towers):
    balanced = {"cross_entropy": {"weight": 1.0, "class_weights": "balanced"}}
    settings = make_settings(*towers, **FROZEN, losses_on=balanced)
    data = read_fold(inputs, 0, True)
    task = make_task(settings, build_bundle(settings, None, data, False), data, NOTHING_STORED)
    labels = [label for label in data.training.label.tolist() if label >= 0]
    wanted = [len(labels) / (2 * labels.count(number)) for number in range(2)]
    assert task.losses["cross_entropy"].weights.tolist() == pytest.approx(wanted)

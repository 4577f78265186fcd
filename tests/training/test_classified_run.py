"""Folds trained as classifiers: products without a photo, with several photos, and mixed products."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from tiny_project import make_settings, with_learned_image, without_photos, write_project
from watched_run import run

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.execution.process_group import ProcessGroup
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.trunk import extract_trunk
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.inference.predict import Predictor
from pipeline_lib.loading.dataset import ProductDataset, Sampling
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.stored_features import NOTHING_STORED
from pipeline_lib.loading.text_views import TextViews
from pipeline_lib.models.saved import load_model
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.fold import _check_mix
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.training.model_setup import build_bundle, make_task
from pipeline_lib.transforms.tokenize import TextTokenizer

pytestmark = [pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"), pytest.mark.usefixtures("isolated")]
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


def test_the_features_of_a_missing_image_are_learned_and_used_in_prediction(inputs, towers):
    without_photos(inputs, "p0", "p6", "p7", "p12")
    settings = with_learned_image(make_settings(*towers, **{**ONLY, "epochs": 2}))
    out = run(settings, inputs, "learned")
    model = load_model(out).model
    torch.manual_seed(settings.train.seed)
    initial = build_bundle(settings, inputs, read_fold(inputs, 0, True), False).model.missing_image
    assert model.missing_image.shape == initial.shape and (model.missing_image != initial).all()
    data = read_fold(inputs, 1, True)
    assert data.training.has_photo is not None and not data.training.has_photo.all()
    views = PhotoViews(ShardReader(Manifest(inputs.shards)), 32)
    tokenizer = TextTokenizer(out / "tokenizer")
    predictor = Predictor(model, tokenizer, views, InferenceEngine("cpu", 7, 0, "fp32"), False, "first")
    probabilities = np.concatenate([block.probabilities for block in predictor.predict(data.training)])
    for row in (data.training.ids.index("p0"), data.training.ids.index("p1")):
        text = data.training.texts[data.training.text[row]]
        ids, mask = (torch.as_tensor(value) for value in tokenizer.encode_batch([text], 16))
        pixels = views.load(data.training.first_photo[[row]], [(0,)])
        image = model.encode_image(pixels) if data.training.ids[row] == "p1" else model.missing_image[None]
        with torch.no_grad():
            expected = model.classify({"image": image, "text": model.encode_text(ids, mask)}).softmax(-1)
        assert np.allclose(probabilities[row], expected.numpy()[0], atol=1e-5)


def test_all_photos_of_a_product_are_averaged_from_pixels_and_from_the_store(inputs, towers):
    settings = make_settings(*towers, **FROZEN, photo="mean_pool")
    dataset, data = batches(settings, inputs, photo="mean_pool")
    rows = np.arange(len(data.training))
    batch = dataset[0, rows]
    assert batch.num_photos.tolist() == data.training.num_photos.tolist() and 2 in batch.num_photos.tolist()
    assert len(batch.pixels) == data.training.num_photos.sum()
    from_pixels = run(settings, inputs, "pixels")
    store(settings, inputs)
    from_store = run(settings, inputs, "stored")
    cards = [load_model(out).card["run"] for out in (from_pixels, from_store)]
    assert [card["stored_features"] for card in cards] == [{}, {"image": "pooled", "text": "pooled"}]
    assert cards[0]["best"]["val_loss"] == pytest.approx(cards[1]["best"]["val_loss"], abs=1e-4)
    assert cards[0]["best"]["total"] == pytest.approx(cards[1]["best"]["total"], abs=1e-4)


def test_mixup_works_on_stored_features_and_cutmix_on_pixels(inputs, towers):
    settings = make_settings(*towers, **FROZEN, mix="mixup", mix_alpha=1.0)
    dataset, data = batches(settings, inputs, mix="mixup", mix_alpha=1.0)
    rows = np.arange(16)
    batch = dataset[1, rows]
    partner = batch.mix_with.numpy()
    assert batch.mixed_label.tolist() == data.training.label[rows[partner]].tolist()
    unlabelled = data.training.label[rows] < 0
    assert unlabelled.any() and (batch.mix_share.numpy()[unlabelled] == 1).all()
    assert not unlabelled[partner[~unlabelled]].any()
    store(settings, inputs)
    stored = run(settings, inputs, "stored")
    assert load_model(stored).card["run"]["stored_features"]
    cut = run(make_settings(*towers, **FROZEN, mix="cutmix"), inputs, "cut")
    assert load_model(cut).card["run"]["stored_features"] == {"text": "pooled"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"info_nce": 1.0}, "but losses.info_nce compares images and texts; set train.mix = none, or every weight but"),
        ({"photo": "mean_pool"}, "train.photo = mean_pool uses several per product; set train.mix = none or"),
    ],
)
def test_products_that_cannot_be_mixed_are_refused(changes, message, inputs, towers):
    with pytest.raises(ValueError, match=message):
        run(make_settings(*towers, **{**ONLY, "mix": "mixup", **changes}), inputs, "refused")


def test_mixing_needs_one_process(towers):
    settings = make_settings(*towers, **ONLY, mix="cutmix")
    _check_mix(settings, NOTHING_STORED)
    with pytest.raises(ValueError, match="blends products of one process, but 2 were started; start one"):
        _check_mix(replace(settings, processes=ProcessGroup(0, 2)), NOTHING_STORED)


@pytest.mark.parametrize("metric", ["top3", "macro_f1", "balanced_accuracy"])
def test_any_classification_metric_may_choose_the_best_epoch(metric, inputs, towers):
    card = load_model(run(make_settings(*towers, **{**ONLY, "epochs": 2}, best_metric=metric), inputs, metric)).card
    assert 0 <= card["run"]["best"][metric] <= 1


def test_a_warm_start_with_unchanged_towers_reads_the_store(inputs, towers):
    """So the second of two phases with frozen towers is as fast as the first."""
    settings = make_settings(*towers, **FROZEN)
    store(settings, inputs)
    run(settings, inputs, "first")
    again = load_model(run(make_settings(*towers, **FROZEN, init_from="first"), inputs, "again")).card["run"]
    assert again["stored_features"]


def test_class_weights_count_only_the_training_products_of_the_fold(inputs, towers):
    balanced = {"cross_entropy": {"weight": 1.0, "class_weights": "balanced"}}
    settings = make_settings(*towers, **FROZEN, losses_on=balanced)
    data = read_fold(inputs, 0, True)
    task = make_task(settings, build_bundle(settings, inputs, data, False), data)
    labels = [label for label in data.training.label.tolist() if label >= 0]
    expected = [len(labels) / (2 * labels.count(number)) for number in range(2)]
    assert task.losses["cross_entropy"].weights.tolist() == pytest.approx(expected)


class Noise:
    """Photos of random pixels, so that the photos of a product are unlike each other."""

    size = 32

    def load(self, rows, seeds):
        return torch.from_numpy(
            np.stack([np.random.default_rng(int(row)).integers(0, 256, (3, 32, 32), np.uint8) for row in rows])
        )


def test_all_photos_mean_the_same_in_validation_and_in_prediction(inputs, towers):
    """Embeddings and probabilities of products with several photos: the heads read the mean of the features."""
    settings = make_settings(*towers, **{**FROZEN, "photo": "mean_pool", "info_nce": 1.0})
    out = run(settings, inputs, "out")
    saved, products = load_model(out), read_fold(inputs, 0, True).held_out
    tokenizer, engine = TextTokenizer(out / "tokenizer"), InferenceEngine("cpu", 5, 0, "fp32")
    blocks = list(Predictor(saved.model, tokenizer, Noise(), engine, False, "mean_pool").predict(products))
    dataset = ProductDataset(products, Noise(), TextViews(tokenizer, 16), Sampling(0, "mean_pool"))
    with torch.no_grad():
        validated = saved.model(dataset[0, np.arange(len(products))])
    assert (products.num_photos > 1).any()
    embeddings = np.concatenate([block.embeddings for block in blocks])
    assert np.allclose(embeddings, validated.image_embedding.numpy(), atol=1e-5)
    probabilities = np.concatenate([block.probabilities for block in blocks])
    assert np.allclose(probabilities, validated.class_logits.softmax(-1).numpy(), atol=1e-5)


@pytest.mark.parametrize(("read_by", "lines"), [("text", 1), ("image", 0)])
def test_a_run_that_reads_texts_says_which_share_of_them_is_cut(towers, inputs, read_by, lines):
    settings = make_settings(*towers, **FROZEN)
    text = settings.model.text.model_copy(update={"max_tokens": 3})
    classifier = settings.model.classifier.model_copy(update={"inputs": read_by})
    model = settings.model.model_copy(update={"text": text, "classifier": classifier})
    out = run(replace(settings, model=model), inputs, read_by)
    found = [line for line in read_object(out / "trainable.json")["starts"] if "max_tokens = 3 cuts off" in line]
    assert len(found) == lines

"""Text augmentation in a run: drawn for each product and epoch, and never used together with stored features."""

import numpy as np
import polars as pl
import pytest
import torch
from tiny_project import make_settings, write_project

from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.trunk import extract_trunk
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.loading.dataset import ProductDataset, Sampling
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.text_views import TextViews
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.training.run_start import resolve_initial_weights
from pipeline_lib.training.stored_inputs import find_stored_inputs
from pipeline_lib.transforms.text_views import word_dropout
from pipeline_lib.transforms.tokenize import TextTokenizer

# No layer group of either tower is ever trained.
FROZEN = {"image": [None], "text": [None]}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("text-augment") / "project")


def batches(inputs, text_folder, view="none", rate=0.0, seed=3):
    data = read_fold(inputs, 0, False)
    photos = PhotoViews(ShardReader(Manifest(inputs.shards)), 16)
    texts = TextViews(TextTokenizer(text_folder), 16, view, rate)
    return ProductDataset(data.training, photos, texts, Sampling(seed, "random"))


def tokens(dataset, epoch, rows):
    batch = dataset[(epoch, np.array(rows))]
    return [tuple(ids[mask].tolist()) for ids, mask in zip(batch.token_ids, batch.token_mask, strict=True)]


def test_the_view_of_a_text_follows_from_seed_epoch_and_row(inputs, tiny_text_folder):
    dataset = batches(inputs, tiny_text_folder, "word_dropout", 0.4)
    tokenizer = TextTokenizer(tiny_text_folder)
    rows = list(range(24))
    for epoch in (0, 1):
        texts = [dataset.products.texts[dataset.products.text[row]] for row in rows]
        views = [word_dropout(text, np.random.default_rng((3, epoch, row, 2)), 0.4) for row, text in enumerate(texts)]
        ids, mask = tokenizer.encode_batch(views, 16)
        expected = [tuple(row[used].tolist()) for row, used in zip(ids, mask, strict=True)]
        assert tokens(dataset, epoch, rows) == expected
    assert tokens(dataset, 0, rows) != tokens(dataset, 1, rows)
    assert tokens(dataset, 0, rows)[5:9] == tokens(dataset, 0, rows[5:9])  # in any batch
    assert tokens(dataset, 0, rows) != tokens(batches(inputs, tiny_text_folder, "word_dropout", 0.4, seed=4), 0, rows)


def test_a_text_view_does_not_change_photos(inputs, tiny_text_folder):
    rows = np.arange(24)
    plain, swapped = batches(inputs, tiny_text_folder), batches(inputs, tiny_text_folder, "random_swap", 0.5)
    one, other = plain[(1, rows)], swapped[(1, rows)]
    assert torch.equal(one.pixels, other.pixels)
    assert torch.equal(one.text, other.text) and torch.equal(one.has_text, other.has_text)
    assert one.token_ids.sort(dim=1)[0].equal(other.token_ids.sort(dim=1)[0])
    assert not torch.equal(one.token_ids, other.token_ids)
    expected = TextTokenizer(tiny_text_folder).encode_batch([plain.products.texts[n] for n in plain.products.text], 16)
    assert np.array_equal(one.token_ids.numpy(), expected[0])


def test_stored_features_replace_only_views_without_augmentation(inputs, tiny_image_folder, tiny_text_folder):
    settings = make_settings(tiny_image_folder, tiny_text_folder, unfreeze_layers=0)
    sources, initial = resolve_towers(settings.model), resolve_initial_weights(settings, None)
    photos = pl.read_parquet(inputs.shards / "manifest.parquet")
    engine = InferenceEngine("cpu", 16, 0, "fp32")
    extracted = ExtractionInputs(ShardReader(Manifest(inputs.shards)), photos, ["a"])
    extract_trunk(sources, extracted, inputs.trunk, ExtractionRun(engine, "float16"))

    def kinds(changed, opened):
        return find_stored_inputs(changed, inputs, initial, opened).features.kinds()

    assert kinds(settings, FROZEN) == {"image": "pooled", "text": "pooled"}
    assert kinds(settings, {**FROZEN, "text": [None, 2]}) == {"image": "pooled"}
    for changes, tower in (({"text_augment": "word_dropout"}, "image"), ({"augment": "jitter_flip"}, "text")):
        changed = make_settings(tiny_image_folder, tiny_text_folder, unfreeze_layers=0, **changes)
        assert kinds(changed, FROZEN) == {tower: "pooled"}

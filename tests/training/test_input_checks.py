"""Different texts with equal vectors, and batches of one row, stop a run in one line before its first step."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from tiny_project import make_settings

from pipeline_lib.loading.products import Captions, Products, text_key
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.stores.store import open_store, write_store
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.input_checks import (
    check_batch_rows,
    check_held_out_labels,
    check_pairs,
    check_texts_differ,
)
from pipeline_lib.transforms.tokenize import TextTokenizer

TEXTS = ["red mug", "blue hat", "green lamp", "red mug"]


@pytest.fixture
def model(tiny_image_folder, tiny_text_folder):
    params = make_settings(tiny_image_folder, tiny_text_folder).model
    sources = resolve_towers(params)
    return build_model(describe(params, sources, True, []), sources).train()


def check(model, texts, folder):
    check_texts_differ(lambda: model, partial(TextTokenizer(folder).encode_batch, max_tokens=16), texts, "mean")


def test_different_texts_pass_and_every_part_of_the_model_stays_in_its_mode(model, tiny_text_folder):
    model.text.trunk.embeddings.eval()  # as set_frozen_eval leaves a frozen prefix
    modes = [module.training for module in model.modules()]
    check(model, TEXTS, tiny_text_folder)
    assert [module.training for module in model.modules()] == modes and len(set(modes)) == 2


def test_the_check_draws_no_random_number_and_leaves_a_model_that_trains(model, tiny_text_folder):
    states = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    check(model, TEXTS, tiny_text_folder)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1]) and random.getstate() == states[2]
    model.encode_text(torch.tensor([[1, 5, 2]]), torch.ones(1, 3, dtype=torch.bool)).sum().backward()


def test_texts_with_equal_vectors_are_named(model, tiny_text_folder):
    with torch.no_grad():  # no token looks at another, and the pooling reads the first, which is [CLS] in every text
        model.text.pool.function = lambda tokens, mask: tokens[:, 0]
        for layer in model.text.trunk.encoder.layer:
            layer.attention.output.dense.weight.zero_()
    with pytest.raises(
        ValueError, match=r"gives 'red mug' and 'blue hat' the same vector \(3 such pairs among 3"
    ) as error:
        check(model, TEXTS, tiny_text_folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_stored_features_that_differ_clearly_spare_the_tower(model, tiny_text_folder, tmp_path, monkeypatch, dtype):
    """Equal vectors that were computed in two batches may be stored with other last bits, so then the tower decides."""
    values, ran = np.random.default_rng(0).normal(size=(3, 16)), []
    encode = model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda *rest: ran.append(1) or encode(*rest))
    for name, vectors, runs in (("other", values, 0), ("equal", values[:1] * (1 + 2e-3 * values), 1)):
        write_store(tmp_path / name, [text_key(text) for text in TEXTS[:3]], vectors, ("m", "v"), dtype)
        tokenize = partial(TextTokenizer(tiny_text_folder).encode_batch, max_tokens=16)
        check_texts_differ(lambda: model, tokenize, TEXTS, "mean", open_store(tmp_path / name))
        assert len(ran) == runs


def test_texts_of_the_same_tokens_are_one_text(model, tiny_text_folder):
    check(model, ["qq zz", "zz qq", "red mug"], tiny_text_folder)
    check(model, ["red mug"], tiny_text_folder)


def test_one_row_is_refused_where_a_batch_norm_follows_the_pooling(model):
    check_batch_rows(model, 1)
    model.description["image"] |= {"architecture": "resnet10t", "model_args": {}}
    check_batch_rows(model, 2)
    with pytest.raises(ValueError, match=r"1 row a batch, and resnet10t cannot train on 1 .*batch_size to at least 2"):
        check_batch_rows(model, 1)


LABELLED, UNLABELLED = np.array([-1, 2, -1]), np.array([-1, -1])


@pytest.mark.parametrize(
    ("metric", "losses", "labels"),
    [
        ("top1", ["cross_entropy", "info_nce"], LABELLED),
        ("loss", ["cross_entropy"], LABELLED),
        ("MeanRecall", ["cross_entropy", "info_nce"], UNLABELLED),
        ("loss", ["class_distillation"], UNLABELLED),
    ],
)
def test_figures_that_can_be_measured_pass(metric, losses, labels):
    check_held_out_labels(metric, losses, labels, 3)


@pytest.mark.parametrize(
    ("metric", "losses"), [("macro_f1", ["cross_entropy", "info_nce"]), ("loss", ["cross_entropy"])]
)
def test_a_fold_without_a_class_that_is_learned_is_refused_where_classes_choose_the_epoch(metric, losses):
    with pytest.raises(ValueError, match=rf"fold 3: train.best_metric = '{metric}' measures classes, but no held-out"):
        check_held_out_labels(metric, losses, UNLABELLED, 3)


def described(texts, captions=None):
    """Products with these texts."""
    rows = np.arange(len(texts))
    names = list(dict.fromkeys([*texts, *(captions or [])]))
    own = np.array([names.index(text) for text in texts])
    more = None if captions is None else Captions(np.arange(len(texts) + 1), np.array(list(map(names.index, captions))))
    return Products([f"p{row}" for row in rows], names, own, rows, rows, rows, rows * 0 + 1, captions=more)


@pytest.mark.parametrize(("texts", "count"), [(["mug", "", ""], "1 of 3 products to train on has"), ([""], "0 of 1")])
def test_a_loss_of_pairs_needs_two_products_with_a_text(texts, count):
    with pytest.raises(ValueError, match=rf"fold 2: losses\.triplet learns from the other products .* but {count}"):
        check_pairs(["triplet", "siglip"], described(texts), 2)
    check_pairs([], described(texts), 2)
    check_pairs(["triplet"], described(["mug", "", "mug"]), 2)
    check_pairs(["triplet"], described(["mug", "", ""], captions=["mug", "hat", "hat"]), 2)

"""Warm starts: the initial weights, the models that are refused, and the sources in the trainable report."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tiny_project import TRAIN, make_settings, write_project
from watched_run import differing, run, started, state_of

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.trunk import extract_trunk
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.inference.warm_start import start_folder
from pipeline_lib.models.saved import load_model, make_whole, read_card, read_state, write_model_files
from pipeline_lib.params.model import ModelParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.training.model_setup import build_bundle

pytestmark = [pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"), pytest.mark.usefixtures("isolated")]
NO_LR = {"tower_lr": 0.0, "head_lr": 0.0, "epochs": 1, "unfreeze_layers": "all"}


@pytest.fixture
def inputs(tmp_path):
    return write_project(tmp_path / "project")


def save_start(settings, inputs) -> Path:
    """Train, and copy the model of fold 0 as `vitrine keep` lays it out."""
    out = run(settings, inputs, "first")
    for name in ("model.safetensors", "model.json", "seen.npy"):
        (Path("starts/saved/0")).mkdir(parents=True, exist_ok=True)
        shutil.copy(out / name, f"starts/saved/0/{name}")
    make_whole(Path("starts/saved/0"))
    return Path("starts/saved")


def with_model(settings, **changes):
    """Return the settings with changed keys of `model`; the keys of a section are merged."""
    values = settings.model.model_dump()
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    object.__setattr__(settings, "model", ModelParams.model_validate(values))
    return settings


def build(settings, inputs, fold=0):
    """The model of a run before its first step."""
    torch.manual_seed(settings.train.seed)
    inputs = started(settings, inputs, fold)
    return build_bundle(settings, inputs, read_fold(inputs, fold, settings.losses.cross_entropy.weight > 0), True)


def test_training_starts_from_exactly_the_saved_weights(inputs, towers):
    start = save_start(make_settings(*towers, unfreeze_layers="all"), inputs)
    trained = load_file(start / "0/model.safetensors")
    cold = state_of(build(make_settings(*towers), inputs).model)
    warm = state_of(build(make_settings(*towers, init_from=str(start)), inputs).model)
    assert warm.keys() == trained.keys() and not differing(warm, trained)
    towers_only = state_of(build(make_settings(*towers, init_from=str(start), init_heads=False), inputs).model)
    heads = {name for name in trained if not name.startswith(("image.", "text."))}
    assert heads and differing(towers_only, trained) <= heads
    assert not differing({name: towers_only[name] for name in heads}, {name: cold[name] for name in heads})
    assert differing(towers_only, trained) >= {"head.image_projection.weight", "head.text_projection.weight"}

    unmoved = run(make_settings(*towers, **NO_LR, init_from=str(start)), inputs, "unmoved")
    assert not differing(read_state(unmoved), trained)
    report = read_object(unmoved / "trainable.json")
    assert [row["source"] for row in report["towers"]] == ["starts/saved/0"] * 3
    without_heads = run(make_settings(*towers, **NO_LR, init_from=str(start), init_heads=False), inputs, "towers")
    sources = [row["source"] for row in read_object(without_heads / "trainable.json")["towers"]]
    assert sources == ["starts/saved/0", "starts/saved/0", "random"]
    first = run(make_settings(*towers, **NO_LR), inputs, "cold")
    hashes = [
        [row["weights_hash"] for row in read_object(out / "trainable.json")["towers"]] for out in (unmoved, first)
    ]
    assert hashes[0][0] != hashes[1][0] and hashes[0][1] != hashes[1][1]


def test_a_tower_that_was_not_trained_is_unchanged(inputs, towers):
    """Its stored features can be read; the hashes of the weights decide."""
    assert build(make_settings(*towers), inputs).initial.unchanged == {"image", "text"}
    rules = {name: {**TRAIN["towers"][name], "unfreeze_layers": layers} for name, layers in (("image", 1), ("text", 0))}
    start = save_start(make_settings(*towers, epochs=1, towers=rules), inputs)
    assert build(make_settings(*towers, init_from=str(start)), inputs).initial.unchanged == {"text"}


def test_parts_without_pretrained_weights_start_from_the_saved_ones_too(inputs, towers):
    """Poolings with weights, in both towers."""

    def settings(**train):
        changes = {"image": {"pooling": "attentive"}, "text": {"pooling": "attentive"}}
        return with_model(make_settings(*towers, unfreeze_layers="all", **train), **changes)

    start = save_start(settings(), inputs)
    trained = load_file(start / "0/model.safetensors")
    assert [name for name in trained if name.startswith("image.pool.")]
    assert not differing(state_of(build(settings(init_from=str(start)), inputs).model), trained)


def other_classes(inputs):
    table = pl.read_parquet(inputs.catalogue / "products.parquet")
    table.with_columns(pl.col("label").replace({"hat": "cap"})).write_parquet(inputs.catalogue / "products.parquet")


def without_a_tensor(inputs):
    file = Path("starts/saved/0/model.safetensors")
    state = load_file(file)
    del state["text.trunk.embeddings.LayerNorm.weight"]
    write_model_files(file.parent, state, read_card(file.parent))


@pytest.mark.parametrize(
    ("spoil", "changes", "model", "message"),
    [
        (
            other_classes,
            {},
            {},
            r"its 2 classes are not the 2 here: 1 only in the start \('hat'\), 1 only here \('cap'\); set train.init_",
        ),
        (None, {"cross_entropy": 0.0}, {}, r"head.classifier[\w.]+ is not in this model and \d more"),
        (
            None,
            {},
            {"embedding_dim": 9},
            r"image_projection.weight is \(8, 24\) in the start and \(9, 24\) here and \d",
        ),
        (
            None,
            {},
            {"temperature": "per_direction"},
            r"logit_scale is \(\) in the start and \(2,\) here; set train.init_heads",
        ),
        (
            None,
            {},
            {"image": {"args": {"depths": [1, 1, 3, 1]}}},
            "do not fit TimmTower: 9 missing, e.g. trunk.stages.2",
        ),
        (
            None,
            {},
            {"text": {"pretrained": False, "name": "bert", "config": {"hidden_size": 32, "num_hidden_layers": 3}}},
            r"do not fit HFTextTower: \d+ of another shape, e.g. trunk.embeddings",
        ),
        (without_a_tensor, {}, {}, "do not fit HFTextTower: 1 missing, e.g. trunk.embeddings.LayerNorm.weight"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(spoil, changes, model, message, inputs, towers):
    start = save_start(make_settings(*towers, epochs=1), inputs)
    if spoil:
        spoil(inputs)
    if "text" in model:
        extra = {"vocab_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32}
        model["text"] |= {"tokenizer": str(towers[1]), "config": {**model["text"]["config"], **extra}}
    if "image" in model:
        model["image"] |= {"pretrained": False}
    with pytest.raises(ValueError, match=message) as error:
        build(with_model(make_settings(*towers, init_from=str(start), **changes), **model), inputs)
    assert "starts/saved/0" in str(error.value) and "\n" not in str(error.value)


def test_a_tower_of_random_weights_may_start_from_a_trained_one(inputs, towers):
    start = save_start(make_settings(*towers, epochs=1), inputs)
    bundle = build(with_model(make_settings(*towers, init_from=str(start)), image={"pretrained": False}), inputs)
    assert not differing(state_of(bundle.model), load_file(start / "0/model.safetensors"))


def test_a_cut_vocabulary_is_not_cut_again(inputs, towers):
    start = save_start(with_model(make_settings(*towers, epochs=1), text_vocabulary="cut"), inputs)
    again = with_model(make_settings(*towers, init_from=str(start)), text_vocabulary="cut")
    with pytest.raises(ValueError, match=r"word_embeddings.weight has \d+ rows for 16 tokens, so it was cut before"):
        build(again, inputs)
    with pytest.raises(ValueError, match="1 of another shape, e.g. trunk.embeddings.word_embeddings"):
        build(make_settings(*towers, init_from=str(start)), inputs)
    shutil.rmtree(Path("starts")), shutil.rmtree(Path("first"))
    full = save_start(make_settings(*towers, epochs=1), inputs)
    cut = build(with_model(make_settings(*towers, init_from=str(full)), text_vocabulary="cut"), inputs)
    weights = cut.initial.towers["text"].weights
    assert weights.startswith("starts/saved/0, ") and weights.endswith("16 tokens")


def write_files(folder: str, *files: str) -> str:
    for file in files:
        (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
        (Path(folder) / file).write_text("{}")
    return folder


def test_a_start_has_a_folder_per_fold_or_one_for_all_folds(isolated):
    names = ("model.safetensors", "model.json")
    (isolated / "empty").mkdir()
    assert start_folder("empty", 0) is None
    assert start_folder(write_files("marked", ".gitkeep", ".gitignore"), 0) is None
    flat = write_files("flat", *names)
    assert [start_folder(flat, fold) for fold in (0, 7)] == [Path("flat")] * 2
    both = write_files("both", *names, *(f"1/{name}" for name in names))
    assert [start_folder(both, fold) for fold in (0, 1)] == [Path("both"), Path("both/1")]
    with pytest.raises(ValueError, match=r"train.init_from = 'nowhere': no such folder; `vitrine keep"):
        start_folder("nowhere", 0)
    with pytest.raises(
        ValueError, match=r"folds/model.safetensors is missing for fold 2; folds holds 0, 1. `vitrine keep"
    ):
        start_folder(write_files("folds", *(f"{fold}/{name}" for fold in (0, 1) for name in names)), 2)
    with pytest.raises(ValueError, match=r"half/0/model.json is missing for fold 0"):
        start_folder(write_files("half", "0/model.safetensors"), 0)


def test_stored_features_of_published_weights_are_not_used(inputs, towers):
    start = save_start(make_settings(*towers, unfreeze_layers="all", epochs=1), inputs)
    frozen = {"unfreeze_layers": 0, "epochs": 1}
    data = read_fold(inputs, 0, True)
    photos = pl.read_parquet(inputs.shards / "manifest.parquet")
    texts = ["", *data.training.texts, *data.held_out.texts]
    engine, reader = InferenceEngine("cpu", 16, 0, "fp32"), ShardReader(Manifest(inputs.shards))
    sources, extracted = resolve_towers(make_settings(*towers).model), ExtractionInputs(reader, photos, texts)
    extract_trunk(sources, extracted, inputs.trunk, ExtractionRun(engine, "float16"))
    used = {
        name: load_model(run(make_settings(*towers, **frozen, **start_of), inputs, name)).card["run"]["stored_features"]
        for name, start_of in (("cold", {}), ("warm", {"init_from": str(start)}))
    }
    assert used == {"cold": {"image": "pooled", "text": "pooled"}, "warm": {}}


def test_the_card_has_the_start_of_the_run(inputs, towers):
    start = save_start(make_settings(*towers, epochs=1), inputs)
    out = run(make_settings(*towers, epochs=1, init_from=str(start)), inputs, "second")
    card = json.loads((out / "model.json").read_text(encoding="utf-8"))
    assert card["run"]["train"]["init_from"] == "starts/saved"

"""A fold with a cut vocabulary: the vocabulary has the tokens of its training texts, and is saved with the model."""

import polars as pl
import pytest
import torch
from tiny_project import make_settings, write_project
from watched_run import run

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.trunk import extract_trunk
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.models.saved import load_model, read_state
from pipeline_lib.params.model import ModelParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.training.run_start import resolve_initial_weights
from pipeline_lib.training.stored_inputs import find_stored_inputs
from pipeline_lib.transforms.tokenize import TextTokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")

# No layer group of either tower is ever trained.
FROZEN = {"image": [None], "text": [None]}


def cut_settings(image, text, **train):
    settings = make_settings(image, text, **train)
    values = settings.model.model_dump()
    values["text_vocabulary"] = "cut"
    object.__setattr__(settings, "model", ModelParams.model_validate(values))
    return settings


@pytest.mark.usefixtures("isolated")
def test_a_run_with_a_cut_vocabulary(tmp_path, tiny_image_folder, tiny_text_folder):
    inputs = write_project(tmp_path / "project")
    settings = cut_settings(tiny_image_folder, tiny_text_folder, epochs=1, unfreeze_layers="all")
    out = run(settings, inputs, "out")

    words = {word for text in read_fold(inputs, 0, True).training.texts for word in text.split()}
    tokenizer, saved = TextTokenizer(out / "tokenizer"), load_model(out)
    vocab_size = 4 + len(words)
    assert saved.card["description"]["text"]["config"]["vocab_size"] == vocab_size < 16
    embeddings = read_state(out)["text.trunk.embeddings.word_embeddings.weight"]
    assert embeddings.shape == (vocab_size, 16)
    with torch.no_grad():
        ids, mask = (torch.as_tensor(value) for value in tokenizer.encode_batch(["red mug", "红 lamp", "unknown"], 16))
        assert ids.max() < vocab_size and saved.model.text.encode(ids, mask).isfinite().all()
    row = next(row for row in read_object(out / "trainable.json")["towers"] if row["tower"] == "text")
    assert row["source"].endswith(f", {vocab_size} of 16 tokens")
    assert row["total"] == sum(value.numel() for value in saved.model.text.parameters())


def test_stored_features_of_the_full_tower_are_not_used_for_the_cut_one(tmp_path, tiny_image_folder, tiny_text_folder):
    inputs = write_project(tmp_path / "project")
    settings = cut_settings(tiny_image_folder, tiny_text_folder, unfreeze_layers=0)
    sources, initial = resolve_towers(settings.model), resolve_initial_weights(settings, None)
    photos = pl.read_parquet(inputs.shards / "manifest.parquet")
    engine = InferenceEngine("cpu", 16, 0, "fp32")
    extracted = ExtractionInputs(ShardReader(Manifest(inputs.shards)), photos, ["a"])
    extract_trunk(sources, extracted, inputs.trunk, ExtractionRun(engine, "float16"))
    full = make_settings(tiny_image_folder, tiny_text_folder, unfreeze_layers=0)
    assert find_stored_inputs(full, inputs, initial, FROZEN).features.kinds() == {
        "image": "pooled",
        "text": "pooled",
    }
    stored = find_stored_inputs(settings, inputs, initial, FROZEN)
    assert stored.features.kinds() == {"image": "pooled"}
    assert stored.messages[1] == "text: from tokens, model.text_vocabulary = cut"

"""A text tower cut to the tokens of the training texts has their features, and fewer embedding rows."""

import json

import pytest
import torch
from model_settings import make_model_params
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel

from pipeline_lib.towers.hf_text_tower import resolve_hf
from pipeline_lib.towers.kinds import build_text_tower
from pipeline_lib.towers.tower import TowerSource
from pipeline_lib.towers.weights import load_strictly
from pipeline_lib.training.cut_vocabulary import cut_vocabulary
from pipeline_lib.transforms.tokenize import TextTokenizer

TEXTS = ["red mug", "striped red 杯", "", "mug"]
WORDS = ["lamp", "red", "green", "mug", "hat", "striped", "红", "杯", "m", "##u", "##g", "z"]


def folder_of(folder, kind, pad, **sizes):
    """A tower of `kind` with a vocabulary of 40, more than its tokens; the padding token has the id `pad`."""
    names = ["[CLS]", "[UNK]", "[SEP]", *WORDS]
    names.insert(pad, "[PAD]")
    number = {name: row for row, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(number, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", number["[SEP]"]), ("[CLS]", number["[CLS]"]))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=40, pad_token_id=pad, eos_token_id=number["hat"], **sizes)
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


BERT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 32,
}  # fmt: skip
KINDS = {
    "bert": (0, BERT),
    "roberta": (3, {**BERT, "type_vocab_size": 1}),
    "electra": (2, {**BERT, "embedding_size": 8}),
    "distilbert": (1, {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 16, "max_position_embeddings": 32}),
}


def tower_of(source):
    tower = build_text_tower(source.description)
    if source.state is not None:
        load_strictly(tower, source.state, "here")
    return tower.eval()


def resolve(folder, **changes):
    return resolve_hf(make_model_params(text={"name": str(folder), **changes}))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_training_texts_have_the_features_of_the_full_tower(tmp_path, kind):
    pad, sizes = KINDS[kind]
    source = resolve(folder_of(tmp_path, kind, pad, **sizes))
    tokenizer = TextTokenizer(tmp_path)
    cut, fewer = cut_vocabulary(source, tokenizer, TEXTS)
    full, small = tower_of(source), tower_of(cut)

    def features(tower, tokenizer, texts):
        return tower.encode(*(torch.as_tensor(value) for value in tokenizer.encode_batch(texts, 16)))

    assert torch.equal(features(full, tokenizer, TEXTS), features(small, fewer, TEXTS))
    assert not torch.allclose(features(full, tokenizer, ["lamp"]), features(small, fewer, ["lamp"]), atol=1e-3)
    assert features(small, fewer, ["green lamp", "mugz 红"]).isfinite().all()
    vocab_size = 4 + len({"red", "mug", "striped", "杯", "m", "##u", "##g", "z"})
    assert cut.description["config"]["vocab_size"] == vocab_size
    width = {"electra": 8}.get(kind, 16)
    counts = [sum(value.numel() for value in tower.parameters()) for tower in (full, small)]
    assert counts[0] - counts[1] == (40 - vocab_size) * width
    assert cut.weights == f"{tmp_path}, {vocab_size} of 40 tokens"
    assert source.state is not None and source.description["config"]["vocab_size"] == 40  # not changed


def test_ids_in_the_config_move_with_their_tokens(tmp_path):
    source = resolve(folder_of(tmp_path, "roberta", 3, **KINDS["roberta"][1]))
    cut, fewer = cut_vocabulary(source, TextTokenizer(tmp_path), ["red"])
    config = cut.description["config"]
    ids, mask = fewer.encode_batch(["red", "red red"], 16)
    assert config["pad_token_id"] == ids[0][~mask[0]][0] == 3
    assert config["eos_token_id"] is None  # `hat`, which no text uses
    with_hat, _ = cut_vocabulary(source, TextTokenizer(tmp_path), ["hat"])
    assert with_hat.description["config"]["eos_token_id"] == 4  # after [CLS] [UNK] [SEP] [PAD]


def test_of_random_weights_only_the_description_changes(tmp_path):
    source = resolve(folder_of(tmp_path, "bert", 0, **BERT), pretrained=False)
    cut, _ = cut_vocabulary(source, TextTokenizer(tmp_path), TEXTS)
    assert cut.state is None and cut.weights is None
    assert tower_of(cut).trunk.embeddings.word_embeddings.weight.shape == (12, 16)


def test_a_tower_that_cannot_be_cut_is_refused(tmp_path):
    folder_of(tmp_path, "bert", 0, **BERT)
    tokenizer = TextTokenizer(tmp_path)
    with pytest.raises(ValueError, match=r"does not support a tower of kind 'other'; write full"):
        cut_vocabulary(TowerSource({"kind": "other"}, None, None), tokenizer, TEXTS)
    short = TowerSource({"kind": "hf", "config": {"vocab_size": 5}}, None, None)
    with pytest.raises(ValueError, match=r"the tokenizer's id 15 has no row among the tower's 5 word embeddings"):
        cut_vocabulary(short, tokenizer, TEXTS)


@torch.no_grad()
def test_an_open_clip_text_tower_is_cut_too(tmp_path):
    """It finds the end of a text by the highest id, which stays the highest."""
    from open_clip.model import _build_text_tower

    folder_of(tmp_path, "bert", 0, **BERT)
    tokenizer = TextTokenizer(tmp_path)
    config = {"context_length": 8, "vocab_size": 20, "width": 8, "heads": 1, "layers": 1}
    torch.manual_seed(0)
    full = _build_text_tower(4, config, False).eval()
    state = {f"text.{name}": value for name, value in full.state_dict().items()}
    source = TowerSource({"kind": "open_clip", "text_cfg": config}, "file", state)
    cut, fewer = cut_vocabulary(source, tokenizer, TEXTS)
    small = _build_text_tower(4, cut.description["text_cfg"], False).eval()
    small.load_state_dict({name.removeprefix("text."): value for name, value in cut.state.items()})
    text = "red striped mug mug mug 杯"
    ids, fewer_ids = (torch.as_tensor(one.encode_batch([text], 8)[0]) for one in (tokenizer, fewer))
    assert ids.shape == (1, 8) and not torch.equal(ids, fewer_ids)
    assert torch.equal(full(ids), small(fewer_ids))

"""Cut vocabularies of every type of tokenizer.json: the same tokens for the given texts, pieces for other texts."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from pipeline_lib.transforms.cut_tokenizer import CUTS, cut_tokenizer
from pipeline_lib.transforms.tokenize import TextTokenizer

CORPUS = [
    "red striped mug 红色 条纹 马克杯", "Blue vase, 蓝色花瓶！", "naïve café strings strip striping", "mugs and vases",
    "a much longer text about a blue striped vase and a red mug", "红酒杯 蓝牙 瓶子 stripes streets",
    "lamp lamps lampshade",
] * 3  # fmt: skip
TEXTS = ["red striped mug", "蓝色 vase", "", "mugs, lamps!"]


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=220, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 4), ("[CLS]", 3))
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    tokenizer.enable_truncation(6)
    return tokenizer


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=360, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    # Added after the vocabulary, as in tokenizers of the GPT-2 and RoBERTa families.
    tokenizer.add_special_tokens(["<s>", "</s>", AddedToken("<mask>", lstrip=True)])
    start, end = (tokenizer.token_to_id(token) for token in ("<s>", "</s>"))
    special_tokens = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", start), ("</s>", end)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(), special_tokens])
    return tokenizer


def clip_like() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["<unk>", "<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=230, special_tokens=special, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("<|endoftext|>", 2), ("<|startoftext|>", 1))
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "<unk>", "</s>"]
    tokenizer.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=110, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return tokenizer


def word_level() -> Tokenizer:
    words = sorted({word for text in CORPUS for word in text.split()})
    tokenizer = Tokenizer(
        models.WordLevel({word: row for row, word in enumerate(["[UNK]", *words])}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


BUILDERS: dict[str, Callable[[], Tokenizer]] = {
    builder.__name__: builder for builder in (word_piece, byte_level, clip_like, unigram, word_level)
}
FULL = {name: builder() for name, builder in BUILDERS.items()}


def full(name: str) -> Tokenizer:
    return Tokenizer.from_str(FULL[name].to_str())


def tokens(tokenizer: Tokenizer, texts: list[str]) -> list[list[str]]:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [tokenizer.encode(text).tokens for text in texts]


def test_every_type_that_can_be_cut_is_tested() -> None:
    assert {json.loads(one.to_str())["model"]["type"] for one in FULL.values()} == set(CUTS)


@pytest.mark.parametrize("name", BUILDERS)
@settings(max_examples=25)
@given(texts=st.lists(st.lists(st.sampled_from(sorted(set(" ".join(CORPUS).split()))), max_size=6), max_size=4))
def test_the_texts_keep_their_tokens_and_ids_match_the_map(name: str, texts: list[list[str]]) -> None:
    joined = [" ".join(words) for words in texts]
    cut, old = cut_tokenizer(full(name), joined)
    original = full(name)
    assert tokens(cut, joined) == tokens(original, joined)
    for text in joined:
        assert [old[number] for number in cut.encode(text).ids] == original.encode(text).ids
    assert cut.get_vocab_size() == len(old) == len(set(old))
    assert old == sorted(old)
    for row, number in enumerate(old):
        assert cut.id_to_token(row) == original.id_to_token(number)


@pytest.mark.parametrize("name", BUILDERS)
def test_unused_tokens_are_removed(name: str) -> None:
    cut, old = cut_tokenizer(full(name), TEXTS)
    removed = set(full(name).get_vocab()) - set(cut.get_vocab())
    assert len(removed) >= 10 and len(old) < full(name).get_vocab_size()
    used = {token for row in tokens(full(name), TEXTS) for token in row}
    assert not removed & used
    letters = {token for token in removed if len(token) == 1 and not "一" <= token <= "鿿"}
    assert not letters


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("word_piece", ["[CLS]", "l", "##a", "##m", "##p", "[SEP]"]),
        ("byte_level", ["<s>", "l", "a", "m", "p", "</s>"]),
        ("clip_like", ["<|startoftext|>", "l", "a", "m", "p</w>", "<|endoftext|>"]),
        ("unigram", ["▁l", "a", "m", "p", "</s>"]),
        ("word_level", ["[UNK]"]),
    ],
)
def test_a_new_word_is_split_into_letters(name: str, pieces: list[str]) -> None:
    cut, _ = cut_tokenizer(full(name), [])
    assert tokens(cut, ["lamp"]) == [pieces]
    assert tokens(full(name), ["lamp"]) != [pieces] or name == "word_level"


def test_a_new_han_character_is_unknown_and_a_used_one_is_not() -> None:
    cut, _ = cut_tokenizer(full("word_piece"), ["红"])
    assert tokens(cut, ["红蓝"]) == [["[CLS]", "红", "[UNK]", "[SEP]"]]
    assert tokens(full("word_piece"), ["红蓝"]) == [["[CLS]", "红", "蓝", "[SEP]"]]


def test_settings_of_the_file_stay_with_new_ids() -> None:
    tokenizer = full("word_piece")
    spec = json.loads(tokenizer.to_str())
    cut, old = cut_tokenizer(tokenizer, TEXTS)
    new_spec = json.loads(cut.to_str())
    assert {key: new_spec[key] for key in ("truncation", "normalizer", "pre_tokenizer", "decoder")} == {
        key: spec[key] for key in ("truncation", "normalizer", "pre_tokenizer", "decoder")
    }
    assert new_spec["post_processor"]["sep"] == ["[SEP]", old.index(4)]
    assert new_spec["padding"]["pad_id"] == old.index(0)
    moved, order = cut_tokenizer(full("byte_level"), TEXTS)
    assert order[-3:] == [360, 361, 362] and moved.token_to_id("<mask>") == len(order) - 1


def test_a_chain_of_merges_is_complete() -> None:
    """`strip` needs st, ri(p)...: the parts and the result of every merge are in the vocabulary."""
    cut, _ = cut_tokenizer(full("byte_level"), ["striped"])
    model = json.loads(cut.to_str())["model"]
    assert model["merges"]
    assert all({left, right, left + right} <= set(model["vocab"]) for left, right in model["merges"])


def test_the_lowest_score_stays_because_the_score_of_unknown_depends_on_it() -> None:
    model = json.loads(full("unigram").to_str())["model"]
    lowest = min(score for _, score in model["vocab"])
    cut, _ = cut_tokenizer(full("unigram"), [])
    assert min(score for _, score in json.loads(cut.to_str())["model"]["vocab"]) == lowest


def test_an_additional_id_stays() -> None:
    number = full("word_piece").token_to_id("lamp")
    assert number in cut_tokenizer(full("word_piece"), [], [number])[1]
    assert number not in cut_tokenizer(full("word_piece"), [])[1]


def test_an_added_token_before_the_vocabulary_is_refused() -> None:
    spec = json.loads(full("word_level").to_str())
    spec["added_tokens"] = [
        {"id": 5000, "content": "<new>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
    ]  # fmt: skip
    spec["model"]["vocab"] = {word: number + 9000 * (word == "mug") for word, number in spec["model"]["vocab"].items()}
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    added = tokenizer.token_to_id("<new>")
    assert added is not None and added < tokenizer.token_to_id("mug")
    with pytest.raises(ValueError, match=r"cannot be in a cut vocabulary; set model\.text_vocabulary = full"):
        cut_tokenizer(tokenizer, ["mug"])


def written(folder: Path, name: str, settings: dict[str, object]) -> Path:
    folder.mkdir()
    full(name).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **settings})
    )
    return folder


@pytest.mark.parametrize(("name", "pad"), [("word_piece", "[PAD]"), ("byte_level", "</s>"), ("unigram", "<pad>")])
def test_a_saved_cut_tokenizer_is_read_by_us_and_by_transformers(tmp_path: Path, name: str, pad: str) -> None:
    number = full(name).token_to_id(pad)
    decoder = {str(number): {"content": pad, "special": True}}
    folder = written(tmp_path / "full", name, {"pad_token": pad, "added_tokens_decoder": decoder})
    cut, old = TextTokenizer(folder).cut(TEXTS)
    cut.save(tmp_path / "cut")
    texts = [*TEXTS, "an unknown lampshade 瓶", "red mug"]
    ids, mask = cut.encode_batch(texts, 12)
    loaded = TextTokenizer(tmp_path / "cut").encode_batch(texts, 12)
    assert np.array_equal(ids, loaded[0]) and np.array_equal(mask, loaded[1])
    original, original_mask = TextTokenizer(folder).encode_batch(TEXTS, 12)
    assert np.array_equal(np.array(old)[cut.encode_batch(TEXTS, 12)[0]], original)
    assert np.array_equal(cut.encode_batch(TEXTS, 12)[1], original_mask)
    reference = AutoTokenizer.from_pretrained(tmp_path / "cut")
    expected = reference(texts, truncation=True, max_length=12)["input_ids"]
    assert [row[tokens].tolist() for row, tokens in zip(ids, mask, strict=True)] == expected
    assert reference.pad_token_id == old.index(number)


def test_a_tokenizer_without_a_file_is_refused(tmp_path: Path) -> None:
    tokenizer = TextTokenizer(written(tmp_path / "full", "word_piece", {"pad_token": "[PAD]"}))
    tokenizer._backend.save = lambda folder: None  # like a tokenizer without tokenizer.json
    with pytest.raises(ValueError, match=r"'cut' needs a tokenizer\.json, and there is none; point model\.text\.name"):
        tokenizer.cut(TEXTS)

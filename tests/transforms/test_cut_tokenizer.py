"""Cut vocabularies of every kind of tokenizer.json: the same tokens for the texts cut to, pieces for others."""

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
    # Behind the vocabulary, as GPT-2's and RoBERTa's relatives have theirs.
    tokenizer.add_special_tokens(["<s>", "</s>", AddedToken("<mask>", lstrip=True)])
    start, end = (tokenizer.token_to_id(token) for token in ("<s>", "</s>"))
    around = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", start), ("</s>", end)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(), around])
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


MAKERS: dict[str, Callable[[], Tokenizer]] = {
    maker.__name__: maker for maker in (word_piece, byte_level, clip_like, unigram, word_level)
}
WHOLE = {name: maker() for name, maker in MAKERS.items()}


def whole(name: str) -> Tokenizer:
    return Tokenizer.from_str(WHOLE[name].to_str())


def tokens(tokenizer: Tokenizer, texts: list[str]) -> list[list[str]]:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [tokenizer.encode(text).tokens for text in texts]


def test_every_kind_that_can_be_cut_is_here() -> None:
    assert {json.loads(one.to_str())["model"]["type"] for one in WHOLE.values()} == set(CUTS)


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=25)
@given(texts=st.lists(st.lists(st.sampled_from(sorted(set(" ".join(CORPUS).split()))), max_size=6), max_size=4))
def test_the_texts_keep_their_tokens_and_ids_follow_the_map(name: str, texts: list[list[str]]) -> None:
    seen = [" ".join(words) for words in texts]
    cut, old = cut_tokenizer(whole(name), seen)
    full = whole(name)
    assert tokens(cut, seen) == tokens(full, seen)
    for text in seen:
        assert [old[number] for number in cut.encode(text).ids] == full.encode(text).ids
    assert cut.get_vocab_size() == len(old) == len(set(old))
    assert old == sorted(old)
    for row, number in enumerate(old):
        assert cut.id_to_token(row) == full.id_to_token(number)


@pytest.mark.parametrize("name", MAKERS)
def test_what_no_text_uses_is_gone(name: str) -> None:
    cut, old = cut_tokenizer(whole(name), TEXTS)
    gone = set(whole(name).get_vocab()) - set(cut.get_vocab())
    assert len(gone) >= 10 and len(old) < whole(name).get_vocab_size()
    used = {token for row in tokens(whole(name), TEXTS) for token in row}
    assert not gone & used
    letters = {token for token in gone if len(token) == 1 and not "一" <= token <= "鿿"}
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
def test_an_unseen_word_falls_into_letters(name: str, pieces: list[str]) -> None:
    cut, _ = cut_tokenizer(whole(name), [])
    assert tokens(cut, ["lamp"]) == [pieces]
    assert tokens(whole(name), ["lamp"]) != [pieces] or name == "word_level"


def test_an_unseen_han_character_is_unknown_and_a_seen_one_is_not() -> None:
    cut, _ = cut_tokenizer(whole("word_piece"), ["红"])
    assert tokens(cut, ["红蓝"]) == [["[CLS]", "红", "[UNK]", "[SEP]"]]
    assert tokens(whole("word_piece"), ["红蓝"]) == [["[CLS]", "红", "蓝", "[SEP]"]]


def test_settings_of_the_file_survive_and_ids_within_are_renumbered() -> None:
    tokenizer = whole("word_piece")
    spec = json.loads(tokenizer.to_str())
    cut, old = cut_tokenizer(tokenizer, TEXTS)
    made = json.loads(cut.to_str())
    assert {key: made[key] for key in ("truncation", "normalizer", "pre_tokenizer", "decoder")} == {
        key: spec[key] for key in ("truncation", "normalizer", "pre_tokenizer", "decoder")
    }
    assert made["post_processor"]["sep"] == ["[SEP]", old.index(4)]
    assert made["padding"]["pad_id"] == old.index(0)
    moved, order = cut_tokenizer(whole("byte_level"), TEXTS)
    assert order[-3:] == [360, 361, 362] and moved.token_to_id("<mask>") == len(order) - 1


def test_a_merge_chain_is_kept_whole() -> None:
    """`strip` needs st, ri(p)...: whatever the chain was, every kept merge has its parts and its product."""
    cut, _ = cut_tokenizer(whole("byte_level"), ["striped"])
    model = json.loads(cut.to_str())["model"]
    assert model["merges"]
    assert all({left, right, left + right} <= set(model["vocab"]) for left, right in model["merges"])


def test_the_lowest_score_stays_so_that_the_unknown_costs_the_same() -> None:
    model = json.loads(whole("unigram").to_str())["model"]
    lowest = min(score for _, score in model["vocab"])
    cut, _ = cut_tokenizer(whole("unigram"), [])
    assert min(score for _, score in json.loads(cut.to_str())["model"]["vocab"]) == lowest


def test_an_id_asked_for_stays() -> None:
    number = whole("word_piece").token_to_id("lamp")
    assert number in cut_tokenizer(whole("word_piece"), [], [number])[1]
    assert number not in cut_tokenizer(whole("word_piece"), [])[1]


def test_an_added_token_before_the_vocabulary_is_refused() -> None:
    spec = json.loads(whole("word_level").to_str())
    spec["added_tokens"] = [
        {"id": 5000, "content": "<new>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
    ]  # fmt: skip
    spec["model"]["vocab"] = {word: number + 9000 * (word == "mug") for word, number in spec["model"]["vocab"].items()}
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    added = tokenizer.token_to_id("<new>")
    assert added is not None and added < tokenizer.token_to_id("mug")
    with pytest.raises(ValueError, match=r"has no place in a cut vocabulary; write model\.text\.vocabulary = full"):
        cut_tokenizer(tokenizer, ["mug"])


def written(folder: Path, name: str, settings: dict[str, object]) -> Path:
    folder.mkdir()
    whole(name).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **settings})
    )
    return folder


@pytest.mark.parametrize(("name", "pad"), [("word_piece", "[PAD]"), ("byte_level", "</s>"), ("unigram", "<pad>")])
def test_a_cut_tokenizer_is_saved_and_read_again_by_us_and_by_transformers(tmp_path: Path, name: str, pad: str) -> None:
    number = whole(name).token_to_id(pad)
    decoder = {str(number): {"content": pad, "special": True}}
    folder = written(tmp_path / "whole", name, {"pad_token": pad, "added_tokens_decoder": decoder})
    cut, old = TextTokenizer(folder).cut(TEXTS)
    cut.save(tmp_path / "cut")
    texts = [*TEXTS, "an unseen lampshade 瓶", "red mug"]
    ids, mask = cut.encode_batch(texts, 12)
    again = TextTokenizer(tmp_path / "cut").encode_batch(texts, 12)
    assert np.array_equal(ids, again[0]) and np.array_equal(mask, again[1])
    full, full_mask = TextTokenizer(folder).encode_batch(TEXTS, 12)
    assert np.array_equal(np.array(old)[cut.encode_batch(TEXTS, 12)[0]], full)
    assert np.array_equal(cut.encode_batch(TEXTS, 12)[1], full_mask)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "cut")
    expected = theirs(texts, truncation=True, max_length=12)["input_ids"]
    assert [row[kept].tolist() for row, kept in zip(ids, mask, strict=True)] == expected
    assert theirs.pad_token_id == old.index(number)


def test_a_tokenizer_without_a_file_is_refused(tmp_path: Path) -> None:
    tokenizer = TextTokenizer(written(tmp_path / "whole", "word_piece", {"pad_token": "[PAD]"}))
    tokenizer._backend.save = lambda folder: None  # as a tokenizer of another form would
    with pytest.raises(ValueError, match=r"'cut' needs a tokenizer\.json, and there is none; point model\.text\.name"):
        tokenizer.cut(TEXTS)

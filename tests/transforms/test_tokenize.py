import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from pipeline_lib.transforms.tokenize import TextTokenizer

TEXTS = ["red striped mug 红色 条纹 马克杯", "Blue vase, 蓝色花瓶！", "naïve café", "mug", "红"]
UNSEEN = ["", "red", "蓝色 mug, 红 café", "a much longer text about a blue striped vase and a red mug " * 4]


def word_piece(folder: Path, **settings: object) -> Path:
    """Return a BERT-like tokenizer of the texts above, with one token per Chinese character."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=50)  # files of the hub often have this setting; it must be ignored
    tokenizer.enable_truncation(7, direction="left")
    return written(folder, tokenizer, {"pad_token": "[PAD]", "sep_token": "[SEP]", **settings})


def byte_level(folder: Path, **settings: object) -> Path:
    """Return a GPT-2-like tokenizer: it adds no special tokens and has no token for padding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return written(folder, tokenizer, {"eos_token": "<|endoftext|>", **settings})


def written(folder: Path, tokenizer: Tokenizer, settings: dict[str, object]) -> Path:
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("make", [word_piece, byte_level])
@pytest.mark.parametrize("max_tokens", [3, 8, 64])
def test_ids_equal_those_of_transformers(tmp_path: Path, make, max_tokens: int) -> None:
    folder = make(tmp_path / "tokenizer")
    texts = TEXTS + UNSEEN[1:]
    ids, mask = TextTokenizer(folder).encode_batch(texts, max_tokens)
    reference = AutoTokenizer.from_pretrained(folder)
    reference.truncation_side = "right"
    expected = reference(texts, truncation=True, max_length=max_tokens)["input_ids"]
    assert [row[tokens].tolist() for row, tokens in zip(ids, mask, strict=True)] == expected
    assert ids.shape == mask.shape == (len(texts), max(map(len, expected)))
    assert (ids.dtype, mask.dtype) == (np.int64, np.bool_)


def test_padding_is_right_only_and_no_longer_than_the_batch(tmp_path: Path) -> None:
    ids, mask = TextTokenizer(word_piece(tmp_path / "t")).encode_batch(["mug", "red striped mug"], 64)
    assert mask.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert ids[0, 3:].tolist() == [0, 0]


def test_truncation_keeps_the_final_special_token(tmp_path: Path) -> None:
    ids, mask = TextTokenizer(word_piece(tmp_path / "t")).encode_batch(UNSEEN[3:], 6)
    assert ids.shape == (1, 6)
    assert (ids[0, 0], ids[0, -1]) == (2, 3)
    assert mask.all()


def test_without_a_pad_token_eos_is_masked_padding(tmp_path: Path) -> None:
    folder = byte_level(tmp_path / "t")
    ids, mask = TextTokenizer(folder).encode_batch(["mug", "mug mug mug"], 64)
    eos = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("<|endoftext|>")
    assert (ids[0][~mask[0]] == eos).all()
    assert mask.sum(axis=1).tolist() == [1, 3]


def test_a_text_without_tokens_is_never_masked_completely(tmp_path: Path) -> None:
    byte_ids, byte_mask = TextTokenizer(byte_level(tmp_path / "b")).encode_batch(["", "mug mug"], 8)
    assert byte_mask.tolist() == [[True, False], [True, True]]
    assert byte_ids[0].tolist() == [0, 0]
    word_ids, _ = TextTokenizer(word_piece(tmp_path / "w")).encode_batch([""], 8)
    assert word_ids.tolist() == [[2, 3]]


def test_a_saved_copy_is_self_contained(tmp_path: Path) -> None:
    source = word_piece(tmp_path / "source", pad_token={"content": "[PAD]", "special": True})
    TextTokenizer(source).save(tmp_path / "model" / "tokenizer")
    expected = TextTokenizer(source).encode_batch(UNSEEN, 16)
    for file in source.iterdir():
        file.unlink()
    copied = TextTokenizer(tmp_path / "model" / "tokenizer").encode_batch(UNSEEN, 16)
    assert all(np.array_equal(a, b) for a, b in zip(expected, copied, strict=True))


def test_an_older_folder_is_read_by_transformers_and_saved_in_the_new_format(tmp_path: Path) -> None:
    vocabulary = Tokenizer.from_file(str(word_piece(tmp_path / "new") / "tokenizer.json")).get_vocab()
    old = tmp_path / "old"
    old.mkdir()
    (old / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)), encoding="utf-8")
    (old / "config.json").write_text('{"model_type": "bert"}')
    tokenizer = TextTokenizer(old)
    expected = TextTokenizer(tmp_path / "new").encode_batch(UNSEEN, 12)
    tokenizer.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "tokenizer.json").is_file()
    for other in (tokenizer, TextTokenizer(tmp_path / "saved")):
        assert all(np.array_equal(a, b) for a, b in zip(expected, other.encode_batch(UNSEEN, 12), strict=True))


def test_no_texts_give_an_empty_batch(tmp_path: Path) -> None:
    ids, mask = TextTokenizer(word_piece(tmp_path / "t")).encode_batch([], 8)
    assert ids.shape == mask.shape == (0, 0)


def test_a_folder_without_a_tokenizer_is_one_error_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')  # transformers would build an empty tokenizer
    with pytest.raises(ValueError, match=r"no tokenizer here .*; point model\.text\.name at a folder") as caught:
        TextTokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_one_error_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tokenizer here nor on the hub") as caught:
        TextTokenizer(tmp_path / "missing")
    assert "\n" not in str(caught.value)


def test_broken_files_and_missing_tokens_are_named(tmp_path: Path) -> None:
    nameless = byte_level(tmp_path / "nameless", eos_token=None)
    with pytest.raises(ValueError, match=r"neither a pad_token nor an eos_token; .*tokenizer_config\.json"):
        TextTokenizer(nameless)
    (nameless / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: damaged, or of another version"):
        TextTokenizer(nameless)
    (nameless / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer"):
        TextTokenizer(nameless)


def test_a_length_without_room_for_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"max_tokens = 2 leaves no room .* 2 special tokens; set 3 or more"):
        TextTokenizer(word_piece(tmp_path / "t")).encode_batch(["mug"], 2)

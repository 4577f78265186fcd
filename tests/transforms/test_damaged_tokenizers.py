"""Files of a tokenizer: damaged in any way, each is one line with its name or its folder, in both formats."""

import json
import shutil
from pathlib import Path

import pytest
from damages import BYTES, GROSS, refused_damages

from pipeline_lib.transforms.tokenize import TextTokenizer

# Values of another type for the keys that libraries read.
WRONG = (3, [], {}, "x", None, True)
KEYS = ("tokenizer_class", "pad_token", "added_tokens_decoder", "model_max_length", "do_lower_case", "auto_map")


def write_older(folder: Path) -> Path:
    """Write a tokenizer in the format that needs transformers."""
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "mug", "红"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 8}), encoding="utf-8")
    return folder


def encode(folder: Path) -> None:
    TextTokenizer(folder).encode_batch(["red mug", ""], 8)


def test_a_folder_in_the_older_format(tmp_path):
    folder = write_older(tmp_path / "old")
    refused, _ = refused_damages(sorted(folder.iterdir()), lambda: encode(folder), BYTES, names=(str(folder),))
    assert {("tokenizer_config.json", name) for name in GROSS if name != "empty"} <= refused
    assert {file for file, _ in refused} >= {"vocab.txt", "tokenizer_config.json"}


def test_values_of_another_type_in_a_config(tmp_path, tiny_text_folder):
    """No value makes a library fail with a traceback, and none makes it run code or ask on the terminal."""
    folder, newer = write_older(tmp_path / "old"), tmp_path / "new"
    shutil.copytree(tiny_text_folder, newer)
    for path in (folder, newer):
        config = path / "tokenizer_config.json"
        sound = json.loads(config.read_bytes())
        for content in [
            *(sound | {key: value} for key in KEYS for value in WRONG), [sound], "x", [["pad_token", "[PAD]"]]
        ]:  # fmt: skip
            config.write_text(json.dumps(content), encoding="utf-8")
            try:
                encode(path)
            except ValueError as error:
                assert "\n" not in str(error) and str(path) in str(error), (content, str(error))
        config.write_text(json.dumps(sound), encoding="utf-8")


@pytest.mark.parametrize("config", [[], "bert", {"model_type": 3}, {"model_type": ["bert"]}, {"vocab_size": "x"}])
def test_a_config_of_a_model_of_another_shape(tmp_path, config):
    folder = write_older(tmp_path / "old")
    (folder / "tokenizer_config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    try:
        encode(folder)
    except ValueError as error:
        assert "\n" not in str(error) and str(folder) in str(error)

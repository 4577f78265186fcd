"""Small real towers in the real formats, made on the spot: a timm folder, a BERT folder, and a tokenizer."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # tests run beside each other; see pipeline_lib/openmp.py

# A machine that does other work at the same time is not a failing test.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

WORDS = ["red", "blue", "green", "mug", "hat", "lamp", "striped", "plain", "红", "蓝", "杯", "帽"]


@pytest.fixture(scope="session")
def tiny_image_folder(tmp_path_factory) -> Path:
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("image-tower")
    arguments = {"depths": [1, 1, 2, 1], "dims": [8, 12, 16, 24]}
    torch.manual_seed(0)
    tower = timm.create_model("convnext_atto", pretrained=False, num_classes=0, **arguments)
    save_file(tower.state_dict(), folder / "model.safetensors")
    config = {"architecture": "convnext_atto", "model_args": arguments, "mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_text_folder(tmp_path_factory) -> Path:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder = tmp_path_factory.mktemp("text-tower")
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "BertTokenizerFast", "pad_token": "[PAD]", "model_max_length": 32}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder

"""The two tiny towers, built by timm and transformers, so that their folders load like published weights."""

import json
import string
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import BertConfig, BertModel

# After 310 steps from scratch, convolutions with batch norm had a pattern accuracy of .76, a similar ConvNeXt of .40.
ARCHITECTURE = "resnet18"
MODEL_ARGS: dict[str, Any] = {
    "layers": [2, 2, 4, 2],
    "channels": [16, 32, 64, 128],
    "stem_type": "deep",
    "stem_width": 8,
    # A final feature map of 2 x 2 is only border: a tower with one worked at no size but its own.
    "output_stride": 16,
}
MEAN, STD = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Single characters, alone and inside a word, so that an unknown English word still has pieces.
SIGNS = string.ascii_lowercase + string.digits + string.punctuation
SOURCE = "pretrained by data/sample on drawn objects of other categories than the shop's"
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS, MAX_POSITIONS = 96, 8, 4, 96


def build_image_tower() -> nn.Module:
    """Return the ResNet trunk: 11 layer groups, pooled features (batch, 128)."""
    tower: nn.Module = timm.create_model(ARCHITECTURE, pretrained=False, num_classes=0, **MODEL_ARGS)
    return tower


def build_text_tower(vocabulary_size: int) -> nn.Module:
    """Return the BERT trunk: token features (batch, tokens, 96)."""
    config = BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=TEXT_HEADS,
        intermediate_size=2 * TEXT_WIDTH,
        max_position_embeddings=MAX_POSITIONS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
    )
    tower: nn.Module = BertModel(config, add_pooling_layer=False)
    return tower


def build_tokenizer(phrases: list[str]) -> Tokenizer:
    """Return a lower-casing WordPiece tokenizer that knows every word of the phrases and splits Chinese by character.

    The vocabulary is listed, not trained, because the trainer of the library breaks ties differently in each run.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    entries = [*SPECIAL_TOKENS, *sorted(_words(tokenizer, phrases) | set(SIGNS)), *(f"##{sign}" for sign in SIGNS)]
    tokenizer.model = models.WordPiece({entry: number for number, entry in enumerate(entries)}, unk_token="[UNK]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, SPECIAL_TOKENS.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _words(tokenizer: Tokenizer, phrases: list[str]) -> set[str]:
    normal = [tokenizer.normalizer.normalize_str(text) for text in phrases]
    return {word for text in normal for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)}


def add_words(tower: nn.Module, tokenizer: Tokenizer, phrases: list[str], seed: int) -> tuple[nn.Module, Tokenizer]:
    """Return copies of a text tower and its tokenizer that also know every word of the phrases.

    The new words come last, with random embeddings of the scale of the others, so a text without them is encoded
    as before.
    """
    assert isinstance(tower, BertModel)
    known = tokenizer.get_vocab()
    new = sorted(_words(tokenizer, phrases) - set(known))
    entries = [*sorted(known, key=known.__getitem__), *new]
    extended = Tokenizer.from_str(tokenizer.to_str())
    extended.model = models.WordPiece({entry: number for number, entry in enumerate(entries)}, unk_token="[UNK]")
    state = dict(tower.state_dict())
    name = "embeddings.word_embeddings.weight"
    old = state[name]
    drawn = torch.randn(len(new), old.shape[1], generator=torch.Generator().manual_seed(seed))
    state[name] = torch.cat([old, drawn * old.std()])
    copy = build_text_tower(len(entries))
    copy.load_state_dict(state)
    return copy, extended


def save_image_tower(tower: nn.Module, folder: Path, image_size: int) -> None:
    """Write `model.safetensors` and a `config.json` with the arguments of `timm.create_model`."""
    folder.mkdir(parents=True)
    config = {
        "architecture": ARCHITECTURE,
        "image_size": image_size,
        "mean": MEAN,
        "model_args": MODEL_ARGS,
        "source": SOURCE,
        "std": STD,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    _save_weights(tower, folder)


def _save_weights(tower: nn.Module, folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file({name: value.contiguous() for name, value in tower.state_dict().items()}, path, {"format": "pt"})
    path.chmod(0o644)


def save_text_tower(tower: nn.Module, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a Hugging Face model folder: config, weights and tokenizer."""
    assert isinstance(tower, BertModel)
    folder.mkdir(parents=True)
    tower.config.architectures = [type(tower).__name__]
    tower.config.save_pretrained(folder)
    _save_weights(tower, folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
        "model_max_length": MAX_POSITIONS,
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "[UNK]",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_text_tower(folder: Path) -> tuple[nn.Module, Tokenizer]:
    """Return the tower and the tokenizer of a folder as `save_text_tower` writes it."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tower = build_text_tower(tokenizer.get_vocab_size())
    tower.load_state_dict(load_file(folder / "model.safetensors"))
    return tower, tokenizer


def image_input(pixels: torch.Tensor) -> torch.Tensor:
    """Return uint8 pictures (batch, height, width, 3) as the image tower's input (batch, 3, height, width)."""
    values = pixels.permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)

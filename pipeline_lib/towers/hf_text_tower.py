"""Text towers from Hugging Face, BERT's family and GPT-2: a hub name, a local folder, or a bare type with a config.

The published pooler is left out: its weights are often random, and how tokens are pooled is this project's own choice.
"""

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, MODEL_MAPPING, AutoConfig, AutoModel, PretrainedConfig
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from pipeline_lib.artifacts.messages import one_line
from pipeline_lib.batch import LayerGroup
from pipeline_lib.params.model import TextSettings, TextTowerParams
from pipeline_lib.towers.file_tensors import Tensors, with_prefix
from pipeline_lib.towers.hf_blocks import hf_blocks
from pipeline_lib.towers.hf_clip import MODEL_TYPES
from pipeline_lib.towers.hf_files import hf_tensors
from pipeline_lib.towers.pooling import TEXT_POOLING
from pipeline_lib.towers.projectors import PROJECTORS
from pipeline_lib.towers.tower import (
    Description,
    ForwardBlock,
    TextTower,
    TowerSource,
    check_groups,
    check_pretrained,
    groups_of,
    local_folder,
)
from pipeline_lib.towers.weights import read_weights
from pipeline_lib.transforms.tokenize import TextTokenizer

# The library warns at length about the unused pooler; missing weights are reported below in one line.
set_verbosity_error()  # type: ignore[no-untyped-call]
if not sys.stderr.isatty():
    disable_progress_bar()  # type: ignore[no-untyped-call]


class Layers(NamedTuple):
    """Patterns of the parameters of a stem and of numbered layers; `tail` belongs to the group of the last layer."""

    stem: str
    layer: str
    tail: str = "$"


BERT_LIKE = Layers(r"embeddings\.", r"encoder\.layer\.(\d+)\.")
# Model type -> patterns of its parameter names.
LAYER_PATTERNS: dict[str, Layers] = {
    "bert": BERT_LIKE,
    "roberta": BERT_LIKE,
    "xlm-roberta": BERT_LIKE,
    "ernie": BERT_LIKE,
    "electra": Layers(r"embeddings(_project)?\.", r"encoder\.layer\.(\d+)\."),
    "distilbert": Layers(r"embeddings\.", r"transformer\.layer\.(\d+)\."),
    "gpt2": Layers(r"w[tp]e\.", r"h\.(\d+)\.", r"ln_f\."),
}
# Families whose published models have a pooler.
WITH_POOLER = ("bert", "roberta", "xlm-roberta", "ernie")
# Families with causal attention.
CAUSAL = ("gpt2",)
# Families whose first position number is the padding id + 1.
PADDED_POSITIONS = ("roberta", "xlm-roberta")
# Defaults of the keys that a description may lack.
DEFAULTS: Description = {"tokens": False, "projection": None}


class HFTextTower(TextTower):
    """A transformer with pooled tokens (batch, hidden_size), or their projection if the description has one."""

    def __init__(self, description: Description) -> None:
        super().__init__()
        description = DEFAULTS | description
        config = AutoConfig.for_model(**description["config"])
        self.trunk: Any = AutoModel.from_config(config, **_no_pooler(config.model_type))  # type: ignore[no-untyped-call]
        self.trunk.config.use_cache = False  # the keys and values of a decoder are not needed
        self.dim = int(config.hidden_size)
        self.pool = None if description["tokens"] else TEXT_POOLING[description["pooling"]](self.dim)
        self.projection: nn.Module | None = None
        if description["projection"]:
            kind, width, hidden = description["projection"]
            self.projection = PROJECTORS[kind](self.dim, width, hidden)
            self.dim = width
        self.patterns = LAYER_PATTERNS[config.model_type]
        self.causal = is_causal(config)

    def forward(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return pooled features (batch, dim) of token ids and their mask, both (batch, length)."""
        return self._pooled(self._hidden(token_ids, mask), mask)

    def tokens(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last layer's tokens (batch, length, dim), projected if the description has a projection."""
        hidden = self._hidden(token_ids, mask)
        return hidden if self.projection is None else self.projection(hidden)

    def _hidden(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        attention_mask = self._attention_mask(mask) if is_asynchronous(mask.device) else mask
        hidden: Tensor = self.trunk(input_ids=token_ids, attention_mask=attention_mask).last_hidden_state
        return hidden

    def _pooled(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        assert self.pool is not None, "this tower was built for its tokens"
        pooled: Tensor = self.pool(hidden, mask)
        return pooled if self.projection is None else self.projection(pooled)

    def forward_blocks(self, mask: Tensor | None = None) -> list[ForwardBlock]:
        """Return the embeddings, each layer, and the final norm, pooling and projection."""
        return hf_blocks(self.trunk, mask, ("pool", "projection"), lambda hidden: self._pooled(hidden, mask))

    def _attention_mask(self, mask: Tensor) -> Tensor:
        """Return which tokens each token attends to, bool (batch, 1, length, length).

        From a padding mask, transformers would compute the same after a synchronisation with the GPU (is any token
        padding?).
        """
        full = mask[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
        return full.tril() if self.causal else full

    def checkpoint_activations(self) -> bool:
        """Turn on the layers' activation checkpointing; the reentrant variant would need an input with a gradient."""
        self.trunk.activation_checkpointing_enable({"use_reentrant": False})
        return True

    def layer_groups(self) -> list[LayerGroup]:
        """Return the groups: embeddings, each layer, the new pooling, the projection."""
        named: dict[int, list[str]] = {}
        tail: list[str] = []
        for name, _ in self.trunk.named_parameters():
            layer = re.match(self.patterns.layer, name)
            if layer or re.match(self.patterns.stem, name):
                named.setdefault(int(layer[1]) + 1 if layer else 0, []).append(f"trunk.{name}")
            elif re.match(self.patterns.tail, name):
                tail.append(f"trunk.{name}")
        named[max(named)] += tail
        titles = {number: f"layer.{number - 1}" if number else "embeddings" for number in named}
        groups = [LayerGroup(titles[number], tuple(named[number])) for number in sorted(named)]
        return check_groups(self, groups + groups_of(self, [(part, (part,)) for part in ("pool", "projection")]))


def is_asynchronous(device: torch.device) -> bool:
    """Return whether kernels run asynchronously on the device, so that reading a value waits for them."""
    return device.type != "cpu"


def is_causal(config: PretrainedConfig) -> bool:
    """Return whether each token attends only to itself and the tokens before it."""
    return config.model_type in CAUSAL or bool(getattr(config, "is_decoder", False))


def check_pooling(params: TextTowerParams, causal: bool, tokens: bool) -> None:
    """Raise ValueError for the pooling cls of a causal tower, whose first token has seen no other.

    A tower that is built for its `tokens` is pooled after a layer in which each token attends to all.
    """
    if params.pooling == "cls" and causal and not tokens:
        raise ValueError(
            f"model.text.pooling = 'cls': the first token of {params.name} attends to no other (a causal tower), so "
            "every text would get the same vector; set model.text.pooling = last, or mean"
        )


def resolve_hf(model: TextSettings) -> TowerSource:
    """Return the source of a text tower; ValueError for an unknown family, or missing or mismatched weights."""
    params = model.text
    check_pretrained("model.text", params.pretrained, params.weights)
    config = with_changes(find_config(params.name, params), params.config)
    description = describe_hf(config, params, model.fusion == "early", params.tokenizer or params.name)
    new = ("pool.",) if TEXT_POOLING[params.pooling](1).state_dict() and not description["tokens"] else ()
    if not params.pretrained:
        return TowerSource(description, None, None, new)
    origin, state = _weights(params, config)
    return TowerSource(description, origin, with_prefix(state, "trunk."), new)


def find_config(name: str, params: TextTowerParams) -> PretrainedConfig:
    """Return the config of a folder, a hub name or a bare model type (`bert`); ValueError if there is none.

    A name is read as a bare type only if its weights are random or from a file; otherwise it is a hub name.
    """
    folder = local_folder(name)
    if folder is None and name in CONFIG_MAPPING and (params.weights or not params.pretrained):
        known = _vocabulary(params) if name in LAYER_PATTERNS else {}
        config = AutoConfig.for_model(name, **known)
    else:
        try:
            config = AutoConfig.from_pretrained(folder or name)
        except Exception as error:  # a config has errors of its own for each field
            fault = "its config.json cannot be used" if folder else "no folder and not on the hub"
            raise ValueError(f"model.text.name = {name!r}: {fault} ({one_line(error, 300)})") from error
    if config.model_type not in LAYER_PATTERNS:
        raise ValueError(
            f"model.text.name = {name!r}: model type {config.model_type!r} is not supported; supported: "
            f"{', '.join(sorted(LAYER_PATTERNS))}; {' and '.join(MODEL_TYPES)} by the kind open_clip of both towers"
        )
    return config


def with_changes(config: PretrainedConfig, changes: dict[str, Any]) -> PretrainedConfig:
    """Return the config with the values of model.text.config; ValueError for a key that it does not have."""
    unknown = [key for key in changes if not hasattr(config, key)]
    if unknown:
        raise ValueError(f"model.text.config.{unknown[0]}: a {config.model_type} config has no such setting")
    for key, value in changes.items():
        setattr(config, key, value)
    return config


def _vocabulary(params: TextTowerParams) -> dict[str, Any]:
    """Return the settings of a bare type's config that depend on its tokenizer."""
    if params.tokenizer is None:
        return {}
    tokenizer = TextTokenizer(params.tokenizer)
    ids = {"pad_token_id": tokenizer.pad_id, "bos_token_id": None, "eos_token_id": None}
    return {"vocab_size": tokenizer.vocab_size, **ids}


def describe_hf(config: PretrainedConfig, params: TextTowerParams, tokens: bool, tokenizer: str) -> Description:
    """Return the description of a text tower; ValueError if the config has too few positions for max_tokens."""
    check_pooling(params, is_causal(config), tokens)
    positions = int(config.max_position_embeddings)
    if config.model_type in PADDED_POSITIONS:
        positions -= int(config.pad_token_id) + 1
    if params.max_tokens > positions:
        raise ValueError(f"model.text.max_tokens = {params.max_tokens}: {params.name} has {positions} positions")
    return {
        "kind": "hf",
        # A checkpoint in bf16 would otherwise give a tower in bf16.
        "config": {**config.to_dict(), "dtype": "float32"},
        "pooling": params.pooling,
        "max_tokens": params.max_tokens,
        "tokenizer": tokenizer,
        "tokens": tokens,
        "projection": None,
    }


def _weights(params: TextTowerParams, config: PretrainedConfig) -> tuple[str, Tensors]:
    """Return the origin and the trunk's weights, without those of other heads.

    They are loaded here only if a file has other names than the trunk, so that the library has to translate them.
    """
    folder, file = local_folder(params.name), params.weights
    trunk: Any = MODEL_MAPPING[type(config)]  # AutoModel needs a name even if the weights are given
    options: dict[str, Any] = {
        "config": config,
        "output_loading_info": True,
        "dtype": torch.float32,
        **_no_pooler(config.model_type),
    }
    if file is not None and not (file.endswith(".safetensors") and Path(file).is_file()):
        raise ValueError(f"model.text.weights = {file!r}: no such .safetensors file")
    origin = file or str(folder or params.name)
    try:
        path = Path(file) if file else folder / "model.safetensors" if folder else None
        if path is not None and path.is_file() and (found := hf_tensors(path, config, _no_pooler(config.model_type))):
            return origin, found
        if file is not None:
            model, info = trunk.from_pretrained(None, state_dict=read_weights(file), **options)
        else:
            model, info = trunk.from_pretrained(folder or params.name, use_safetensors=True, **options)
    except Exception as error:  # of the config, of the file, or of the layers that the config describes
        raise ValueError(f"{origin}: cannot load the weights ({one_line(error, 300)})") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(f"{origin}: its weights lack {len(missing)} parameters, e.g. {missing[0]}")
    return origin, dict(model.state_dict())


def _no_pooler(model_type: str) -> dict[str, bool]:
    return {"add_pooling_layer": False} if model_type in WITH_POOLER else {}

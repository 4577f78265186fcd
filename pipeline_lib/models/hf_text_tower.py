"""Text towers from Hugging Face, BERT's family and GPT-2: a hub name, a local folder, or a bare type with a config.

The published pooler is left out: its weights are often random, and how tokens are pooled is this project's own choice.
"""

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PretrainedConfig
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from pipeline_lib.batch import LayerGroup
from pipeline_lib.models.heads import PROJECTORS
from pipeline_lib.models.hf_blocks import hf_blocks
from pipeline_lib.models.pooling import TEXT_POOLING
from pipeline_lib.models.towers import (
    Description,
    ForwardBlock,
    TextTower,
    TowerSource,
    check_asked,
    check_groups,
    groups_of,
    local_folder,
    read_weights,
)
from pipeline_lib.params.model import ModelParams, TextTowerParams
from pipeline_lib.transforms.tokenize import TextTokenizer

# The library reports a left-out pooler at length; what is really missing is refused below in one line.
set_verbosity_error()  # type: ignore[no-untyped-call]
if not sys.stderr.isatty():
    disable_progress_bar()  # type: ignore[no-untyped-call]


class Layers(NamedTuple):
    """Patterns of the parameters of a stem and of its numbered layers; `tail` trains with the last layer."""

    stem: str
    layer: str
    tail: str = "$"


BERT_LIKE = Layers(r"embeddings\.", r"encoder\.layer\.(\d+)\.")
# Model type -> where its parameters lie, from the stem on.
LAYER_PATTERNS: dict[str, Layers] = {
    "bert": BERT_LIKE,
    "roberta": BERT_LIKE,
    "xlm-roberta": BERT_LIKE,
    "ernie": BERT_LIKE,
    "electra": Layers(r"embeddings(_project)?\.", r"encoder\.layer\.(\d+)\."),
    "distilbert": Layers(r"embeddings\.", r"transformer\.layer\.(\d+)\."),
    "gpt2": Layers(r"w[tp]e\.", r"h\.(\d+)\.", r"ln_f\."),
}
# Families whose published models carry a pooler.
WITH_POOLER = ("bert", "roberta", "xlm-roberta", "ernie")
# Families whose tokens read only what stands before them.
CAUSAL = ("gpt2",)
# Families that count positions from behind the padding id.
PADDED_POSITIONS = ("roberta", "xlm-roberta")
# What a description without these keys means.
PLAIN: Description = {"tokens": False, "projection": None}


class HFTextTower(TextTower):
    """A transformer with pooled tokens (batch, hidden_size), or their projection if the description has one."""

    def __init__(self, description: Description) -> None:
        super().__init__()
        asked = PLAIN | description
        config = AutoConfig.for_model(**asked["config"])
        self.trunk: Any = AutoModel.from_config(config, **_no_pooler(config.model_type))  # type: ignore[no-untyped-call]
        self.trunk.config.use_cache = False  # a decoder would keep keys and values that nobody reads
        self.dim = int(config.hidden_size)
        self.pool = None if asked["tokens"] else TEXT_POOLING[asked["pooling"]](self.dim)
        self.projection: nn.Module | None = None
        if asked["projection"]:
            kind, width, hidden = asked["projection"]
            self.projection = PROJECTORS[kind](self.dim, width, hidden)
            self.dim = width
        self.patterns = LAYER_PATTERNS[config.model_type]
        self.causal = config.model_type in CAUSAL

    def forward(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return pooled features (batch, dim) of token ids and their mask, both (batch, length)."""
        return self._pooled(self._hidden(token_ids, mask), mask)

    def tokens(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last layer's tokens (batch, length, dim), projected if the description has a projection."""
        hidden = self._hidden(token_ids, mask)
        return hidden if self.projection is None else self.projection(hidden)

    def _hidden(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        seen = self._whole_mask(mask) if runs_ahead(mask.device) else mask
        hidden: Tensor = self.trunk(input_ids=token_ids, attention_mask=seen).last_hidden_state
        return hidden

    def _pooled(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        assert self.pool is not None, "this tower was built for its tokens"
        pooled: Tensor = self.pool(hidden, mask)
        return pooled if self.projection is None else self.projection(pooled)

    def forward_blocks(self, mask: Tensor | None = None) -> list[ForwardBlock]:
        """Return the embeddings, each layer, and what stands behind the last one."""
        return hf_blocks(self.trunk, mask, ("pool", "projection"), lambda hidden: self._pooled(hidden, mask))

    def _whole_mask(self, mask: Tensor) -> Tensor:
        """Return what each token may read, bool (batch, 1, length, length).

        From a mask of padding the library would make it itself, after waiting to hear whether there is any padding.
        """
        whole = mask[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
        return whole.tril() if self.causal else whole

    def checkpoint_activations(self) -> bool:
        """Have transformers checkpoint the layers; not the reentrant way, which needs an input with a gradient."""
        self.trunk.activation_checkpointing_enable({"use_reentrant": False})
        return True

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embeddings, each layer, the new pooling and the projection as groups."""
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


def runs_ahead(device: torch.device) -> bool:
    """Tell whether a device computes beside this process, so that reading a value from it means waiting for it."""
    return device.type != "cpu"


def resolve_hf(model: ModelParams) -> TowerSource:
    """Find a text tower's config and weights; ValueError where the family is not known or weights do not fit."""
    params = model.text
    check_asked("model.text", params.pretrained, params.weights)
    config = with_changes(find_config(params.name, params), params.config)
    description = describe_hf(config, params, model.fusion == "early", params.tokenizer or params.name)
    new = ("pool.",) if TEXT_POOLING[params.pooling](1).state_dict() and not description["tokens"] else ()
    if not params.pretrained:
        return TowerSource(description, None, None, new)
    origin, state = _weights(params, config)
    return TowerSource(description, origin, {f"trunk.{name}": value for name, value in state.items()}, new)


def find_config(name: str, params: TextTowerParams) -> PretrainedConfig:
    """Return the config of a folder, a hub name or a bare type; ValueError if there is none.

    A name that is a bare type stands for one only where the hub is not asked for its weights.
    """
    folder = local_folder(name)
    if folder is None and name in LAYER_PATTERNS and (params.weights or not params.pretrained):
        config = AutoConfig.for_model(name, **_vocabulary(params))
    else:
        try:
            config = AutoConfig.from_pretrained(folder or name)
        except OSError as error:
            first = str(error).strip().splitlines()[0]
            raise ValueError(f"model.text.name = {name!r}: neither a folder nor to be had ({first})") from error
    if config.model_type not in LAYER_PATTERNS:
        raise ValueError(
            f"model.text.name = {name!r}: model type {config.model_type!r} has no layer groups here; "
            f"known: {', '.join(sorted(LAYER_PATTERNS))}"
        )
    return config


def with_changes(config: PretrainedConfig, changes: dict[str, Any]) -> PretrainedConfig:
    """Return the config with model.text.config put in; ValueError for a key that it does not have."""
    unknown = [key for key in changes if not hasattr(config, key)]
    if unknown:
        raise ValueError(f"model.text.config.{unknown[0]} is no setting of a {config.model_type} config")
    for key, value in changes.items():
        setattr(config, key, value)
    return config


def _vocabulary(params: TextTowerParams) -> dict[str, Any]:
    """Return what a bare type's config must know of the tokenizer it is used with."""
    if params.tokenizer is None:
        return {}
    tokenizer = TextTokenizer(params.tokenizer)
    ids = {"pad_token_id": tokenizer.pad_id, "bos_token_id": None, "eos_token_id": None}
    return {"vocab_size": tokenizer.vocab_size, **ids}


def describe_hf(config: PretrainedConfig, params: TextTowerParams, tokens: bool, tokenizer: str) -> Description:
    """Return the description of a text tower; ValueError if the config has too few positions for max_tokens."""
    positions = int(config.max_position_embeddings)
    if config.model_type in PADDED_POSITIONS:
        positions -= int(config.pad_token_id) + 1
    if params.max_tokens > positions:
        raise ValueError(f"model.text.max_tokens = {params.max_tokens}: {params.name} has {positions} positions")
    return {
        "kind": "hf",
        "config": config.to_dict(),
        "pooling": params.pooling,
        "max_tokens": params.max_tokens,
        "tokenizer": tokenizer,
        "tokens": tokens,
        "projection": None,
    }


def _weights(params: TextTowerParams, config: PretrainedConfig) -> tuple[str, dict[str, Tensor]]:
    """Return the origin and the trunk's weights, heads that it does not have left out."""
    folder, file = local_folder(params.name), params.weights
    trunk: Any = MODEL_MAPPING[type(config)]  # AutoModel asks for a name even where the weights are given
    asked: dict[str, Any] = {"config": config, "output_loading_info": True, **_no_pooler(config.model_type)}
    if file is not None and not (file.endswith(".safetensors") and Path(file).is_file()):
        raise ValueError(f"model.text.weights = {file!r}: no such .safetensors file")
    origin = file or str(folder or params.name)
    try:
        if file is not None:
            model, info = trunk.from_pretrained(None, state_dict=read_weights(file), **asked)
        else:
            model, info = trunk.from_pretrained(folder or params.name, use_safetensors=True, **asked)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{origin}: no weights that fit ({' '.join(str(error).split())[:300]})") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(f"{origin}: its weights lack {len(missing)} parameters, e.g. {missing[0]}")
    return origin, dict(model.state_dict())


def _no_pooler(model_type: str) -> dict[str, bool]:
    return {"add_pooling_layer": False} if model_type in WITH_POOLER else {}

"""Text towers of the BERT family from Hugging Face: a hub name, or a local folder with config.json and safetensors.

The published pooler is left out: its weights are often random, and how tokens are pooled is this project's own choice.
"""

import re
import sys
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from pipeline_lib.models.pooling import TEXT_POOLING
from pipeline_lib.models.towers import Description, TextTower, TowerSource, check_groups, local_folder
from pipeline_lib.params.model import TextTowerParams
from pipeline_lib.records import LayerGroup

# The library reports a left-out pooler at length; what is really missing is refused below in one line.
set_verbosity_error()  # type: ignore[no-untyped-call]
if not sys.stderr.isatty():
    disable_progress_bar()  # type: ignore[no-untyped-call]

# Model type -> the parameters of its stem and of its numbered layers, from the stem on.
LAYER_PATTERNS: dict[str, tuple[str, str]] = {
    "bert": (r"embeddings\.", r"encoder\.layer\.(\d+)\."),
    "roberta": (r"embeddings\.", r"encoder\.layer\.(\d+)\."),
    "xlm-roberta": (r"embeddings\.", r"encoder\.layer\.(\d+)\."),
    "electra": (r"embeddings(_project)?\.", r"encoder\.layer\.(\d+)\."),
    "distilbert": (r"embeddings\.", r"transformer\.layer\.(\d+)\."),
}
# Families whose published models carry a pooler.
WITH_POOLER = ("bert", "roberta", "xlm-roberta")


class HFTextTower(TextTower):
    """An encoder of the BERT family with pooled tokens (batch, hidden_size)."""

    def __init__(self, description: Description) -> None:
        super().__init__()
        config = _config(description["config"])
        self.trunk: Any = AutoModel.from_config(config, **_no_pooler(config.model_type))  # type: ignore[no-untyped-call]
        self.pool = TEXT_POOLING[description["pooling"]]
        self.stem, self.layers = LAYER_PATTERNS[config.model_type]
        self.dim = int(config.hidden_size)

    def forward(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return pooled features (batch, dim) of token ids and their mask, both (batch, length)."""
        tokens = self.trunk(input_ids=token_ids, attention_mask=mask).last_hidden_state
        return self.pool(tokens, mask)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embeddings and then each layer as a group."""
        named: dict[int, list[str]] = {}
        for name, _ in self.trunk.named_parameters():
            layer = re.match(self.layers, name)
            if layer or re.match(self.stem, name):
                named.setdefault(int(layer[1]) + 1 if layer else 0, []).append(f"trunk.{name}")
        titles = {number: f"layer.{number - 1}" if number else "embeddings" for number in named}
        groups = [LayerGroup(titles[number], tuple(named[number])) for number in sorted(named)]
        return check_groups(self, groups)


def resolve_hf(params: TextTowerParams) -> TowerSource:
    """Find a text tower's config and weights; ValueError where the family is not known or weights do not fit."""
    folder = local_folder(params.name)
    config = AutoConfig.from_pretrained(folder or params.name)
    if config.model_type not in LAYER_PATTERNS:
        raise ValueError(
            f"model.text.name = {params.name!r}: model type {config.model_type!r} has no layer groups here; "
            f"known: {', '.join(sorted(LAYER_PATTERNS))}"
        )
    if params.max_tokens > config.max_position_embeddings:
        raise ValueError(
            f"model.text.max_tokens = {params.max_tokens}: {params.name} has {config.max_position_embeddings} positions"
        )
    description: Description = {
        "kind": "hf",
        "config": config.to_dict(),
        "pooling": params.pooling,
        "max_tokens": params.max_tokens,
        "tokenizer": params.name,
    }
    if not params.pretrained:
        return TowerSource(description, None, None)
    model, info = AutoModel.from_pretrained(
        folder or params.name, use_safetensors=True, output_loading_info=True, **_no_pooler(config.model_type)
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(f"{params.name}: its weights lack {len(missing)} parameters, e.g. {missing[0]}")
    state = {f"trunk.{name}": value for name, value in model.state_dict().items()}
    return TowerSource(description, params.name if folder is None else str(Path(params.name)), state)


def _no_pooler(model_type: str) -> dict[str, bool]:
    return {"add_pooling_layer": False} if model_type in WITH_POOLER else {}


def _config(values: dict[str, Any]) -> PretrainedConfig:
    return AutoConfig.for_model(**values)


def build_hf(description: Description) -> TextTower:
    """Build a text tower with random weights from its description."""
    return HFTextTower(description)

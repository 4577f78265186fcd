"""Embeddings of texts by a saved model, from the tensors of its text tower alone.

For BERT and its relatives the forward pass is written here with torch's functions, because importing transformers takes
several times as long as importing torch. Other text towers are built by their library. The result for one text is that
of the complete model to the bit.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.artifacts.read import damaged
from pipeline_lib.models.multimodal import DEFAULTS, SIMILARITIES
from pipeline_lib.models.saved import CARD, WEIGHTS, read_state
from pipeline_lib.towers.kinds import build_text_tower
from pipeline_lib.towers.pooling import TEXT_POOLING
from pipeline_lib.towers.projectors import PROJECTORS
from pipeline_lib.towers.tower import Description
from pipeline_lib.towers.uninitialised import uninitialised
from pipeline_lib.towers.weights import State, load_strictly

# Families whose layers are BERT's; their embeddings differ in the numbers of positions only.
FAMILIES = ("bert", "roberta", "xlm-roberta", "ernie", "electra")
# Families whose positions are counted from the padding id + 1, over tokens that are not padding.
PADDED_POSITIONS = ("roberta", "xlm-roberta")
# Contract: (token ids, mask), both (batch, length), -> pooled features (batch, width).
Features = Callable[[Tensor, Tensor], Tensor]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "relu": functional.relu}


def has_separate_text(description: Description) -> bool:
    """Return whether a model's text tower has no part that depends on its image tower: early fusion, adapters."""
    return not description.get("fusion") and not description.get("adapters")


def is_plain(text: Description) -> bool:
    """Return whether the forward pass of a text tower is written here."""
    config = text.get("config", {})
    return (
        text["kind"] == "hf"
        and config["model_type"] in FAMILIES
        and config["hidden_act"] in ACTIVATIONS
        and not config.get("is_decoder")
        and not config.get("use_task_id")
    )


class TextQuery:
    """Embeds texts with the model in a folder, whose description `has_separate_text`."""

    def __init__(self, folder: Path, description: Description) -> None:
        description = DEFAULTS | description
        state, text = read_state(folder, ("text",), checked=False), description["text"]
        if not _below(state, "text."):
            raise damaged(folder / CARD, f"neither {WEIGHTS} nor a base has tensors of the text tower")
        projector = description["projector"]
        features = _plain_features if is_plain(text) else _tower_features
        self._features, width = features(text, state, folder)
        name = "projection" if projector["shared"] else "text_projection"
        head = PROJECTORS[projector["text"]](width, description["embedding_dim"], projector["hidden"])
        self._head = _loaded(head, state, f"head.{name}.", folder)
        self._similarity = SIMILARITIES[description["similarity"]]

    def embed(self, token_ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return embeddings (texts, embedding_dim) of token ids (texts, length); no `mask` means no padding."""
        if mask is None:
            mask = torch.ones_like(token_ids, dtype=torch.bool)
        with torch.inference_mode():
            return self._similarity(self._head(self._features(token_ids, mask)).float())


def _tower_features(text: Description, state: State, folder: Path) -> tuple[Features, int]:
    """Return the function to pooled features (texts, width), and the width."""
    with uninitialised():
        tower = build_text_tower(text)
    _loaded(tower, state, "text.", folder)
    return tower.encode, tower.dim


def _plain_features(text: Description, state: State, folder: Path) -> tuple[Features, int]:
    trunk = PlainBert(_below(state, "text.trunk."), text["config"])
    width = int(text["config"]["hidden_size"])
    pool = _loaded(TEXT_POOLING[text["pooling"]](width), state, "text.pool.", folder)
    projection: nn.Module = nn.Identity()
    if text.get("projection"):
        kind, out_dim, hidden = text["projection"]
        projection = _loaded(PROJECTORS[kind](width, out_dim, hidden), state, "text.projection.", folder)
        width = out_dim

    def features(token_ids: Tensor, mask: Tensor) -> Tensor:
        pooled: Tensor = projection(pool(trunk.hidden(token_ids, mask), mask))
        return pooled

    return features, width


class PlainBert:
    """The forward pass of a BERT from its tensors.

    Source: the modules of transformers' BertModel in evaluation mode, in the same order of operations.
    """

    def __init__(self, state: State, config: dict[str, Any]) -> None:
        self._state, self._config = state, config
        self._layers = [_below(state, f"encoder.layer.{number}.") for number in range(config["num_hidden_layers"])]

    def hidden(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last layer's tokens (texts, length, hidden_size) of token ids and their mask (texts, length)."""
        eps, act = self._config["layer_norm_eps"], ACTIVATIONS[self._config["hidden_act"]]
        # Without padding the attention has no mask, as transformers does it: the result is the same to the bit.
        attended_to = None if mask.all() else mask[:, None, None, :]
        hidden = _embedded(self._state, self._config, token_ids)
        for layer in self._layers:
            heads = _attention(layer, self._config, hidden, attended_to)
            attended = _linear(layer, "attention.output.dense", heads)
            hidden = _norm(layer, "attention.output.LayerNorm", attended + hidden, eps)
            inner = act(_linear(layer, "intermediate.dense", hidden))
            hidden = _norm(layer, "output.LayerNorm", _linear(layer, "output.dense", inner) + hidden, eps)
        return hidden


def _embedded(state: State, config: dict[str, Any], token_ids: Tensor) -> Tensor:
    def table(name: str) -> Tensor:
        return state[f"embeddings.{name}_embeddings.weight"]

    if config["model_type"] in PADDED_POSITIONS:
        real = token_ids.ne(config["pad_token_id"]).int()
        positions = (torch.cumsum(real, dim=1).type_as(real) * real).long() + config["pad_token_id"]
    else:
        positions = torch.arange(token_ids.shape[1])[None]
    embedded = functional.embedding(token_ids, table("word"))
    embedded = embedded + functional.embedding(torch.zeros_like(token_ids), table("token_type"))
    embedded = embedded + functional.embedding(positions, table("position"))
    embedded = _norm(state, "embeddings.LayerNorm", embedded, config["layer_norm_eps"])
    narrow = "embeddings_project.weight" in state  # an ELECTRA with narrow embeddings
    return _linear(state, "embeddings_project", embedded) if narrow else embedded


def _attention(layer: State, config: dict[str, Any], hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Return the outputs of all heads side by side, (texts, length, hidden_size)."""
    width = config["hidden_size"] // config["num_attention_heads"]
    query, key, value = (
        _linear(layer, f"attention.self.{name}", hidden).view(*hidden.shape[:-1], -1, width).transpose(1, 2)
        for name in ("query", "key", "value")
    )
    heads = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=width**-0.5)
    return heads.transpose(1, 2).reshape(*hidden.shape[:-1], -1)


def _linear(state: State, name: str, values: Tensor) -> Tensor:
    return functional.linear(values, state[f"{name}.weight"], state[f"{name}.bias"])


def _norm(state: State, name: str, values: Tensor, eps: float) -> Tensor:
    return functional.layer_norm(values, values.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def _below(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _loaded(module: nn.Module, state: State, prefix: str, folder: Path) -> nn.Module:
    load_strictly(module, _below(state, prefix), str(folder / WEIGHTS))
    return module.eval()

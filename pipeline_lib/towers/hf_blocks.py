"""Forward passes of Hugging Face text models as blocks: the embeddings, each layer, and the final norm and pooling.

The modules and the functions that make the attention masks are the library's; only their order is written here. A layer
needs the tokens and the mask, so a pass can start from stored tokens without token ids.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, arange
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

from pipeline_lib.towers.tower import ForwardBlock


def hf_blocks(
    trunk: Any, mask: Tensor | None, head: tuple[str, ...], finish: Callable[[Tensor], Tensor]
) -> list[ForwardBlock]:
    """Return the blocks of a tower with this trunk; the last one is `finish`, which uses the modules `head`."""
    return (_gpt2_blocks if trunk.config.model_type == "gpt2" else _bert_blocks)(trunk, mask, head, finish)


class _AttentionMask:
    """The attention mask of every layer, created in the first layer that the pass runs."""

    def __init__(self, create: Callable[..., Any], config: Any, mask: Tensor | None, **arguments: Any) -> None:
        self._create = partial(create, config=config, attention_mask=mask, **arguments)
        self._masks: list[Any] = []  # a list, because the mask may be None

    def __call__(self, hidden: Tensor) -> Any:
        if not self._masks:
            self._masks.append(self._create(inputs_embeds=hidden))
        return self._masks[0]


def _bert_blocks(
    trunk: Any, mask: Tensor | None, head: tuple[str, ...], finish: Callable[[Tensor], Tensor]
) -> list[ForwardBlock]:
    project = getattr(trunk, "embeddings_project", None)  # in an ELECTRA with narrow embeddings

    def embed(token_ids: Tensor) -> Tensor:
        embedded: Tensor = trunk.embeddings(input_ids=token_ids)
        return embedded if project is None else project(embedded)

    path = "transformer" if hasattr(trunk, "transformer") else "encoder"
    if getattr(trunk.config, "is_decoder", False):
        attention = _AttentionMask(create_causal_mask, trunk.config, mask, past_key_values=None)
    else:
        attention = _AttentionMask(create_bidirectional_mask, trunk.config, mask)
    layers = [
        ForwardBlock((f"trunk.{path}.layer.{number}",), _bert_layer(layer, attention))
        for number, layer in enumerate(trunk.get_submodule(path).layer)
    ]
    return [
        ForwardBlock(("trunk.embeddings", "trunk.embeddings_project"), embed),
        *layers,
        ForwardBlock(head, finish),
    ]


def _bert_layer(layer: Any, attention: _AttentionMask) -> Callable[[Tensor], Tensor]:
    def run(hidden: Tensor) -> Tensor:
        output: Tensor = layer(hidden, attention(hidden))
        return output

    return run


def _gpt2_blocks(
    trunk: Any, mask: Tensor | None, head: tuple[str, ...], finish: Callable[[Tensor], Tensor]
) -> list[ForwardBlock]:
    def embed(token_ids: Tensor) -> Tensor:
        positions = arange(token_ids.shape[1], device=token_ids.device)
        embedded: Tensor = trunk.drop(trunk.wte(token_ids) + trunk.wpe(positions.unsqueeze(0)))
        return embedded

    attention = _AttentionMask(create_causal_mask, trunk.config, mask, past_key_values=None)
    layers = [ForwardBlock((f"trunk.h.{n}",), _gpt2_layer(layer, attention)) for n, layer in enumerate(trunk.h)]
    stem = ForwardBlock(("trunk.wte", "trunk.wpe", "trunk.drop"), embed)
    return [stem, *layers, ForwardBlock(("trunk.ln_f", *head), lambda hidden: finish(trunk.ln_f(hidden)))]


def _gpt2_layer(layer: Any, attention: _AttentionMask) -> Callable[[Tensor], Tensor]:
    def run(hidden: Tensor) -> Tensor:
        output: Tensor = layer(hidden, None, attention(hidden), use_cache=False)
        return output

    return run

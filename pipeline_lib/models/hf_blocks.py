"""The forward passes of the Hugging Face text families as steps: embeddings, each layer, and what follows.

The modules are the library's own, and so are the functions that make a layer's attention mask; only the chain between
them is told here. What a layer needs beside its tokens is the mask alone, so stored tokens need no token ids.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, arange
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

from pipeline_lib.models.towers import ForwardBlock


def hf_blocks(
    trunk: Any, mask: Tensor | None, behind: tuple[str, ...], finish: Callable[[Tensor], Tensor]
) -> list[ForwardBlock]:
    """Return the steps of a tower whose trunk this is; `finish` takes the last tokens on, through modules `behind`."""
    return (_gpt2_blocks if trunk.config.model_type == "gpt2" else _bert_blocks)(trunk, mask, behind, finish)


class _Attention:
    """The mask that every layer is given, made once a pass, of whatever tokens the pass begins with."""

    def __init__(self, make: Callable[..., Any], config: Any, mask: Tensor | None, **more: Any) -> None:
        self.make, self.config, self.mask, self.more = make, config, mask, more
        self.made: list[Any] = []

    def of(self, hidden: Tensor) -> Any:
        if not self.made:
            made = self.make(config=self.config, inputs_embeds=hidden, attention_mask=self.mask, **self.more)
            self.made.append(made)
        return self.made[0]


def _bert_blocks(
    trunk: Any, mask: Tensor | None, behind: tuple[str, ...], finish: Callable[[Tensor], Tensor]
) -> list[ForwardBlock]:
    widen = getattr(trunk, "embeddings_project", None)  # of an ELECTRA with narrow embeddings

    def embed(token_ids: Tensor) -> Tensor:
        embedded: Tensor = trunk.embeddings(input_ids=token_ids)
        return embedded if widen is None else widen(embedded)

    path = "transformer" if hasattr(trunk, "transformer") else "encoder"
    if getattr(trunk.config, "is_decoder", False):
        attention = _Attention(create_causal_mask, trunk.config, mask, past_key_values=None)
    else:
        attention = _Attention(create_bidirectional_mask, trunk.config, mask)
    layers = [
        ForwardBlock((f"trunk.{path}.layer.{number}",), _bert_layer(layer, attention))
        for number, layer in enumerate(trunk.get_submodule(path).layer)
    ]
    return [
        ForwardBlock(("trunk.embeddings", "trunk.embeddings_project"), embed),
        *layers,
        ForwardBlock(behind, finish),
    ]


def _bert_layer(layer: Any, attention: _Attention) -> Callable[[Tensor], Tensor]:
    def run(hidden: Tensor) -> Tensor:
        passed: Tensor = layer(hidden, attention.of(hidden))
        return passed

    return run


def _gpt2_blocks(
    trunk: Any, mask: Tensor | None, behind: tuple[str, ...], finish: Callable[[Tensor], Tensor]
) -> list[ForwardBlock]:
    def embed(token_ids: Tensor) -> Tensor:
        positions = arange(token_ids.shape[1], device=token_ids.device)
        embedded: Tensor = trunk.drop(trunk.wte(token_ids) + trunk.wpe(positions.unsqueeze(0)))
        return embedded

    attention = _Attention(create_causal_mask, trunk.config, mask, past_key_values=None)
    layers = [ForwardBlock((f"trunk.h.{n}",), _gpt2_layer(layer, attention)) for n, layer in enumerate(trunk.h)]
    stem = ForwardBlock(("trunk.wte", "trunk.wpe", "trunk.drop"), embed)
    return [stem, *layers, ForwardBlock(("trunk.ln_f", *behind), lambda hidden: finish(trunk.ln_f(hidden)))]


def _gpt2_layer(layer: Any, attention: _Attention) -> Callable[[Tensor], Tensor]:
    def run(hidden: Tensor) -> Tensor:
        passed: Tensor = layer(hidden, None, attention.of(hidden), use_cache=False)
        return passed

    return run

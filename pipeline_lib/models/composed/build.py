"""Composed models by name: from the section `composed` to a description and weights, and from these to a model.

`resolve_composed` and `build_composed` are the counterparts of a tower's: a saved model is rebuilt from its description
alone, without the pretrained weights.
"""

from collections.abc import Callable

import torch

from pipeline_lib.models.composed.combiner import CombinerModel
from pipeline_lib.models.composed.face import ComposedModel
from pipeline_lib.models.composed.inputs import StoredWidths
from pipeline_lib.models.composed.pretrained import WORDS, PretrainedQFormer, read_q_former
from pipeline_lib.models.composed.q_former import QFormerModel
from pipeline_lib.models.composed.sum import SumModel
from pipeline_lib.params.composed import ComposedKind, ComposedParams, QFormerParams
from pipeline_lib.towers.tower import Description, TowerSource
from pipeline_lib.towers.weights import load_strictly
from pipeline_lib.transforms.tokenize import TextTokenizer

# Name -> builder(description) of a ComposedModel.
COMPOSED_MODELS: dict[ComposedKind, Callable[[Description], ComposedModel]] = {
    "sum": SumModel,
    "combiner": CombinerModel,
    "q_former": QFormerModel,
}
# Parts that no published Q-Former has.
NEW = ("token_projection.", "fusion.", "patches.")
MAX_ADDED = 8  # tokens that a tokenizer may have beyond the rows of the weights


def resolve_composed(
    kind: ComposedKind, params: ComposedParams, widths: StoredWidths, text_tokenizer: str
) -> TowerSource:
    """Return the description and pretrained weights of a model on stores of these widths.

    `text_tokenizer` is the folder or hub name of the text tower's. ValueError if tokens are needed and not stored, or
    settings do not fit the weights.
    """
    patches = params.losses.patch_contrast > 0
    reasons = {
        f"plan.composed has {kind}": kind == "q_former",
        f"composed.fusion = {params.fusion}": params.fusion != "none",
        f"composed.losses.patch_contrast = {params.losses.patch_contrast}": patches,
    }
    if widths.tokens is None and any(reasons.values()):
        reason = next(name for name, holds in reasons.items() if holds)
        raise ValueError(f"params.yaml: {reason}, which reads image tokens; set features.trunk.at = tokens")
    description: Description = {
        "kind": kind,
        "embedding_dim": params.embedding_dim,
        "logit_scale": params.logit_scale,
        "widths": {"image": widths.image, "text": widths.text, "tokens": widths.tokens},
        "patches": patches,
        "fusion": {"kind": params.fusion, "width": params.fusion_width, "alpha": params.fusion_alpha},
    }
    if kind == "combiner":
        description["combiner"] = params.combiner.model_dump()
    if kind == "q_former":
        return _resolve_q_former(description, params.q_former, text_tokenizer)
    return TowerSource(description, None, None)


def build_composed(description: Description, source: TowerSource | None = None) -> ComposedModel:
    """Build a model from its description, with the pretrained weights of `source`."""
    model = COMPOSED_MODELS[description["kind"]](description)
    if source is not None and source.state is not None:
        load_strictly(model, source.state, str(source.weights), source.new)
    return model


def _resolve_q_former(description: Description, params: QFormerParams, text_tokenizer: str) -> TowerSource:
    if params.weights is None:
        return TowerSource(_new_q_former(description, params, params.tokenizer or text_tokenizer), None, None)
    found = read_q_former(params.weights)
    if found.dim != description["embedding_dim"]:
        raise ValueError(
            f"composed.embedding_dim = {description['embedding_dim']}, but {params.weights} has {found.dim} "
            f"dimensions; set composed.embedding_dim = {found.dim}"
        )
    tokenizer = params.tokenizer or found.tokenizer or text_tokenizer
    _grow_vocabulary(found, tokenizer)
    config = {**found.config, **_dropout(params.dropout)}
    project = config["encoder_hidden_size"] != description["widths"]["tokens"]
    options = _options(params, config, found.queries, tokenizer, project)
    new = [*NEW, *(name for name in ("prompt_tokens", "log_scale") if name not in found.state)]
    return TowerSource({**description, "q_former": options}, params.weights, found.state, tuple(new))


def _grow_vocabulary(found: PretrainedQFormer, tokenizer: str) -> None:
    """Add rows of zeros for tokens that were added after training (`<image>` of BLIP-2); no text has them."""
    table = found.state[WORDS]
    added = TextTokenizer(tokenizer).vocab_size - len(table)
    if 0 < added <= MAX_ADDED:
        found.state[WORDS] = torch.cat([table, table.new_zeros(added, table.shape[1])])
        found.config["vocab_size"] += added


def _new_q_former(description: Description, params: QFormerParams, tokenizer: str) -> Description:
    if params.frozen:
        raise ValueError(
            "composed.q_former.frozen = true, but its weights are random; name weights, or set it to false"
        )
    if params.width % params.heads:
        raise ValueError(f"composed.q_former.heads = {params.heads} does not divide its width = {params.width}")
    config = {
        "vocab_size": TextTokenizer(tokenizer).vocab_size,
        "hidden_size": params.width,
        "num_hidden_layers": params.layers,
        "num_attention_heads": params.heads,
        "intermediate_size": 4 * params.width,
        "max_position_embeddings": params.queries + params.max_tokens,
        "encoder_hidden_size": params.width,
        # Linear layers of gain 1. With BERT's 0.02, and few hundred steps, the query never sees the image.
        "initializer_range": params.width**-0.5,
        **_dropout(params.dropout),
    }
    return {**description, "q_former": _options(params, config, params.queries, tokenizer, True)}


def _dropout(probability: float) -> dict[str, float]:
    return {"hidden_dropout_prob": probability, "attention_probs_dropout_prob": probability}


def _options(
    params: QFormerParams, config: Description, queries: int, tokenizer: str, project: bool
) -> dict[str, object]:
    """Return the description of the Q-Former; ValueError if its tables are too small for the texts."""
    size, rows = TextTokenizer(tokenizer).vocab_size, config["vocab_size"]
    if size > rows:
        raise ValueError(
            f"composed.q_former: the tokenizer {tokenizer} has {size} tokens, the weights have {rows}; set "
            "composed.q_former.tokenizer to the one that they were trained with (bert-base-uncased for SPRC)"
        )
    positions = config["max_position_embeddings"]
    if queries + params.max_tokens > positions:
        raise ValueError(
            f"composed.q_former.max_tokens = {params.max_tokens}: with {queries} prompt tokens that is more than the "
            f"{positions} positions of the weights"
        )
    return {
        "config": config,
        "queries": queries,
        "max_tokens": params.max_tokens,
        "tokenizer": tokenizer,
        "frozen": params.frozen,
        "project": project,
    }

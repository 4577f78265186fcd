"""Pretrained Q-Formers: BLIP-2 models of transformers, by folder or hub name, and files in the names of LAVIS and SPRC.

Only the Q-Former, its text embeddings, the tokens and the projections are read. The image tower is not: a model learns
from stored image tokens, which are to be those of the tower that the Q-Former was trained with (after `ln_vision`): the
tower `blip2`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from pipeline_lib.artifacts.read import damaged, read_object, reading
from pipeline_lib.towers.lavis_file import read_lavis
from pipeline_lib.towers.tower import Description, local_folder
from pipeline_lib.towers.weights import State, index_parts

WHERE = "composed.q_former.weights"
WHOLE = "model.safetensors"
WORDS = "passes.embeddings.word_embeddings.weight"
DEFAULT_HEADS = 12  # of transformers, where a config has none
HEAD_WIDTH = 64  # of BERT and of every published Q-Former; a file of tensors does not have it
# Pattern of a name -> its replacement, in turn; first LAVIS -> transformers, then transformers -> QFormerModel.
LAVIS = (
    (r"^module\.", ""),
    (r"^Qformer\.bert\.embeddings\.LayerNorm\.", "qformer.layernorm."),
    (r"^Qformer\.bert\.embeddings\.", "embeddings."),
    (r"^Qformer\.bert\.", "qformer."),
    (r"(attention|crossattention)\.self\.", r"\1.attention."),
    (r"^vision_proj\.", "vision_projection."),
    (r"^text_proj\.", "text_projection."),
)
OURS = ((r"^(qformer|embeddings)\.", r"passes.\1."),)
# The image tower, the heads for matching and for captions, and a buffer.
UNUSED = re.compile(
    r"(module\.)?(visual_encoder|ln_vision|vision_model|Qformer\.cls|itm_head|language_model|language_projection)\."
    r"|.*position_ids$"
)


@dataclass(frozen=True)
class PretrainedQFormer:
    """Weights by the names of `QFormerModel`, the config that fits them, and the tokenizer's name if known."""

    state: State
    config: Description
    queries: int
    dim: int
    tokenizer: str | None = None


def read_q_former(weights: str) -> PretrainedQFormer:
    """Read a BLIP-2 model (folder or hub name) or a file of LAVIS; ValueError if it is no Q-Former with texts."""
    if weights.endswith((".safetensors", ".pth", ".pt", ".bin")):
        tensors = read_lavis(Path(weights), WHERE)
        own = {name: value for name, value in tensors.items() if not UNUSED.match(name)}
        state = renamed(own, (*LAVIS, *OURS))
        scale = state.pop("temp", None)
        if scale is not None:
            state["log_scale"] = -scale.float().log()
        return _described(weights, state, None)
    heads, tensors = _transformers_tensors(weights)
    found = _described(weights, renamed(tensors, OURS), heads)
    return PretrainedQFormer(found.state, found.config, found.queries, found.dim, weights)


def renamed(tensors: Mapping[str, Tensor], table: tuple[tuple[str, str], ...]) -> State:
    """Return the tensors by the names that the replacements of a table give, in turn."""
    state: State = {}
    for name, value in tensors.items():
        for pattern, replacement in table:
            name = re.sub(pattern, replacement, name)
        state[name] = value
    return state


def _described(weights: str, state: State, heads: int | None) -> PretrainedQFormer:
    """Return the weights with the config that their shapes give."""
    layer = "passes.qformer.encoder.layer."
    needed = (
        WORDS,
        "query_tokens",
        "vision_projection.weight",
        "text_projection.weight",
        f"{layer}0.intermediate.dense.weight",
    )
    missing = [name for name in needed if name not in state]
    if missing:
        raise ValueError(
            f"{WHERE} = {weights!r}: no {missing[0]} here; it must be a BLIP-2 model for retrieval, whose Q-Former "
            "reads texts (Salesforce/blip2-itm-vit-g, or a file of LAVIS's blip2_qformer or of SPRC)"
        )
    numbers = {int(found[1]) for name in state if (found := re.match(re.escape(layer) + r"(\d+)\.", name))}
    crossing = sorted(
        int(found[1])
        for name in state
        if (found := re.match(re.escape(layer) + r"(\d+)\.crossattention\..*query\.weight", name))
    )
    width = state[WORDS].shape[1]
    config = {
        "vocab_size": state[WORDS].shape[0],
        "hidden_size": width,
        "num_hidden_layers": len(numbers),
        "num_attention_heads": heads or max(1, width // HEAD_WIDTH),
        "intermediate_size": state[f"{layer}0.intermediate.dense.weight"].shape[0],
        "max_position_embeddings": state["passes.embeddings.position_embeddings.weight"].shape[0],
        "cross_attention_frequency": crossing[1] if len(crossing) > 1 else len(numbers),
        "encoder_hidden_size": state[f"{layer}0.crossattention.attention.key.weight"].shape[1],
    }
    return PretrainedQFormer(state, config, state["query_tokens"].shape[1], state["vision_projection.weight"].shape[0])


def _transformers_tensors(name: str) -> tuple[int, State]:
    """Return the heads and the tensors of a BLIP-2 model, without its image tower and its language model."""
    from transformers.utils.hub import cached_file  # slow import

    source = str(local_folder(name) or name)

    def path_of(file: str, needed: bool = True) -> Path | None:
        found = cached_file(source, file, _raise_exceptions_for_missing_entries=needed)
        return None if found is None else Path(found)

    try:
        config = path_of("config.json")
        index = path_of("model.safetensors.index.json", needed=False)
        used = index_parts(index, lambda key: not UNUSED.match(key)) if index else []
        files = [path for file in used or [WHOLE] if (path := path_of(file))]
    except OSError as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"{WHERE} = {name!r}: no BLIP-2 model here nor on the hub ({first})") from error
    assert config is not None, "it is needed"
    tensors: State = {}
    for path in files:
        with reading(path), safe_open(path, "pt") as opened:
            known = list(opened.keys())
            tensors |= {key: opened.get_tensor(key) for key in known if not UNUSED.match(key)}
    return _heads(config), tensors


def _heads(config: Path) -> int:
    settings = read_object(config).get("qformer_config") or {}
    heads = settings.get("num_attention_heads", DEFAULT_HEADS) if isinstance(settings, dict) else None
    if not isinstance(heads, int) or heads < 1:
        raise damaged(config, "its 'qformer_config' has no number of heads")
    return heads

"""Text towers of open_clip: its causal transformers, and the Hugging Face encoders that its configs name.

A causal transformer is read at its end token, which stands last, so a batch cut to its longest text gives what the
full context of 77 gives. A Hugging Face encoder becomes this project's own tower for them, with open_clip's projection.
"""

from collections.abc import Callable
from typing import Any

from open_clip.model import _build_text_tower
from torch import Tensor, nn

from pipeline_lib.batch import LayerGroup
from pipeline_lib.models.hf_text_tower import describe_hf, find_config
from pipeline_lib.models.open_clip_config import ClipModel, changed, find_clip_model, read_checkpoint
from pipeline_lib.models.pooling import TEXT_POOLING, pool_last
from pipeline_lib.models.towers import Description, ForwardBlock, Parts, TextTower, TowerSource, check_groups, groups_of
from pipeline_lib.params.model import ModelParams, PoolingKind, TextTowerParams
from pipeline_lib.transforms.tokenize import CLIP_NAME

# open_clip's poolers of Hugging Face towers -> ours.
HF_POOLERS: dict[str, PoolingKind] = {
    "mean_pooler": "mean",
    "max_pooler": "max",
    "cls_last_hidden_state_pooler": "cls",
    "last": "last",
}


class OpenClipTextTower(TextTower):
    """A causal text transformer, its projected features (batch, embed_dim)."""

    def __init__(self, description: Description) -> None:
        super().__init__()
        config, embed_dim = description["text_cfg"], description["embed_dim"]
        self.text: Any = _build_text_tower(embed_dim, {**config, "output_tokens": False}, description["quick_gelu"])
        self.dim: int = embed_dim if self.text.text_projection is not None else self.text.width
        self.own = description["pooling"] == "last"
        self.pool: nn.Module | None = None
        if not self.own and not description["tokens"]:
            self.pool = TEXT_POOLING[description["pooling"]](self.dim)

    def forward(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return features (batch, dim) of token ids and their mask, both (batch, length)."""
        return self._pooled(self._hidden(token_ids), mask)

    def _pooled(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.pool is None:
            return self._project(pool_last(hidden, mask))
        pooled: Tensor = self.pool(self._project(hidden), mask)
        return pooled

    def tokens(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return every token in the joint space, (batch, length, dim)."""
        return self._project(self._hidden(token_ids))

    def _hidden(self, token_ids: Tensor) -> Tensor:
        length = token_ids.shape[1]
        hidden: Tensor = self.text.ln_final(
            self.text.transformer(self._embedded(token_ids), attn_mask=self.text.attn_mask[:length, :length])
        )
        return hidden

    def _embedded(self, token_ids: Tensor) -> Tensor:
        embedded: Tensor = self.text.token_embedding(token_ids) + self.text.positional_embedding[: token_ids.shape[1]]
        return embedded

    def forward_blocks(self, mask: Tensor | None = None) -> list[ForwardBlock]:
        """Return the embeddings, each block, and what stands behind the last one."""

        def through(block: Any) -> Callable[[Tensor], Tensor]:
            def run(hidden: Tensor) -> Tensor:
                length = hidden.shape[1]
                passed: Tensor = block(hidden, attn_mask=self.text.attn_mask[:length, :length])
                return passed

            return run

        def finish(hidden: Tensor) -> Tensor:
            assert mask is not None, "steps that are run are made for a mask"
            return self._pooled(self.text.ln_final(hidden), mask)

        blocks = [
            ForwardBlock((f"text.transformer.resblocks.{number}",), through(block))
            for number, block in enumerate(self.text.transformer.resblocks)
        ]
        stem = ForwardBlock(("text.token_embedding", "text.positional_embedding"), self._embedded)
        return [stem, *blocks, ForwardBlock(("text.ln_final", "text.text_projection", "pool"), finish)]

    def _project(self, features: Tensor) -> Tensor:
        projection = self.text.text_projection
        if projection is None:
            return features
        projected: Tensor = projection(features) if isinstance(projection, nn.Linear) else features @ projection
        return projected

    def checkpoint_activations(self) -> bool:
        """Have open_clip checkpoint the blocks."""
        self.text.set_grad_checkpointing(True)
        return True

    def layer_groups(self) -> list[LayerGroup]:
        """Return the groups that open_clip's `lock_text_tower` counts, and the new pooling."""
        last = len(self.text.transformer.resblocks) - 1
        blocks = [(f"block.{number}", (f"text.transformer.resblocks.{number}",)) for number in range(last)]
        stem = ("embeddings", ("text.token_embedding", "text.positional_embedding"))
        ending = (f"block.{last}", (f"text.transformer.resblocks.{last}", "text.ln_final"))
        parts: Parts = [stem, *blocks, ending, ("projection", ("text.text_projection",)), ("pool", ("pool",))]
        return check_groups(self, groups_of(self, parts))


def resolve_open_clip_text(model: ModelParams) -> TowerSource:
    """Find an open_clip text tower's config and weights; ValueError where they are not to be had."""
    params, early = model.text, model.fusion == "early"
    found = find_clip_model("model.text", params)
    config = changed("model.text.config", found.text, params.config)
    describe = _describe_hf if config.get("hf_model_name") else _describe
    description, own = describe(params, found, config, early)
    notes: tuple[str, ...] = ()
    if params.pretrained and not early and params.pooling != own:
        notes = (f"text: model.text.pooling = {params.pooling}, but these weights were trained with {own}",)
    new = ("pool.",) if TEXT_POOLING[params.pooling](1).state_dict() and not early else ()
    if found.weights is None:
        return TowerSource(description, None, None, new, notes)
    state = read_checkpoint(found.weights)["text"]
    named = {_own_name(name, description["kind"]): value for name, value in state.items()}
    named.pop("trunk.embeddings.position_ids", None)  # a buffer that older versions of transformers kept
    return TowerSource(description, str(found.weights), named, new, notes)


def _own_name(name: str, kind: str) -> str:
    if kind == "open_clip":
        return f"text.{name}"
    for theirs, ours in (("transformer.", "trunk."), ("proj.", "projection.")):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _describe(
    params: TextTowerParams, found: ClipModel, config: dict[str, Any], early: bool
) -> tuple[Description, PoolingKind]:
    context, pool = config.get("context_length", 77), config.get("pool_type", "argmax")
    odd = [key for key in ("no_causal_mask", "embed_cls") if config.get(key)]
    if odd or pool not in ("argmax", "eos"):
        fault = f"{odd[0]} = true" if odd else f"pool_type = {pool!r}"
        raise ValueError(
            f"model.text.name = {params.name!r}: {fault} in a text tower that reads its padding; not built here"
        )
    if params.max_tokens > context:
        raise ValueError(f"model.text.max_tokens = {params.max_tokens}: {params.name} has {context} positions")
    description = {
        "kind": "open_clip",
        "embed_dim": found.embed_dim,
        "text_cfg": config,
        "quick_gelu": found.quick_gelu,
        "pooling": params.pooling,
        "max_tokens": params.max_tokens,
        "tokenizer": _tokenizer(params, config) or CLIP_NAME,
        "tokens": early,
    }
    return description, "last"


def _tokenizer(params: TextTowerParams, config: dict[str, Any]) -> str | None:
    """Return the tokenizer that params or config name; ValueError where the config's cleans texts as none here does."""
    cleaned = (config.get("tokenizer_kwargs") or {}).get("clean", "lower")
    if params.tokenizer is None and cleaned != "lower":
        raise ValueError(
            f"model.text.name = {params.name!r}: its tokenizer cleans texts ({cleaned}), which is not built here; name "
            "another in model.text.tokenizer"
        )
    return params.tokenizer or config.get("hf_tokenizer_name")


def _describe_hf(
    params: TextTowerParams, found: ClipModel, config: dict[str, Any], early: bool
) -> tuple[Description, PoolingKind]:
    name, pooler = config["hf_model_name"], config.get("hf_pooler_type", "mean_pooler")
    if pooler not in HF_POOLERS:
        raise ValueError(
            f"model.text.name = {params.name!r}: hf_pooler_type = {pooler!r} is not built here; known: "
            f"{', '.join(HF_POOLERS)}"
        )
    trunk = find_config(name, params)
    tokenizer = _tokenizer(params, config) or name
    description = describe_hf(trunk, params, early, tokenizer)
    kind, width = config.get("hf_proj_type", "mlp"), int(trunk.hidden_size)
    if kind in ("linear", "mlp"):
        # open_clip's two-layer projection is half as wide, between its ends, as both together.
        description["projection"] = [kind, found.embed_dim, (width + found.embed_dim) // 2]
    return description, HF_POOLERS[pooler]

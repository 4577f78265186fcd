"""Text towers of open_clip: its causal transformers, and the Hugging Face encoders that its configs name.

A causal transformer is pooled at the end token, the last of a text, so padding to the longest text of a batch gives the
same features as padding to the context of 77. A Hugging Face encoder becomes an HFTextTower with the same projection.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from open_clip.model import _build_text_tower
from torch import Tensor, nn

from pipeline_lib.batch import LayerGroup
from pipeline_lib.params.model import PoolingKind, TextSettings, TextTowerParams
from pipeline_lib.towers.file_tensors import rename_tensors
from pipeline_lib.towers.hf_clip import bert_of
from pipeline_lib.towers.hf_text_tower import check_pooling, describe_hf, find_config
from pipeline_lib.towers.open_clip_config import ClipModel, find_clip_model, read_checkpoint, with_config_changes
from pipeline_lib.towers.pooling import TEXT_POOLING, pool_last
from pipeline_lib.towers.tower import Description, ForwardBlock, Parts, TextTower, TowerSource, check_groups, groups_of
from pipeline_lib.transforms.tokenize import CLIP_NAME, TextTokenizer

EOS_ID = 2  # by default in open_clip
# open_clip's poolers of Hugging Face towers -> ours.
HF_POOLERS: dict[str, PoolingKind] = {
    "mean_pooler": "mean",
    "max_pooler": "max",
    "cls_last_hidden_state_pooler": "cls",
    "last": "last",
}


class OpenClipTextTower(TextTower):
    """A causal text transformer with projected features (batch, embed_dim)."""

    def __init__(self, description: Description) -> None:
        super().__init__()
        config, embed_dim = description["text_cfg"], description["embed_dim"]
        self.text: Any = _build_text_tower(embed_dim, {**config, "output_tokens": False}, description["quick_gelu"])
        self.dim: int = embed_dim if self.text.text_projection is not None else self.text.width
        self.pool: nn.Module | None = None  # None for open_clip's own, of the last token before the projection
        if description["pooling"] != "last" and not description["tokens"]:
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
        """Return all tokens in the joint space, (batch, length, dim)."""
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
        """Return the embeddings, each block, and the final norm, projection and pooling."""

        def with_mask(block: Any) -> Callable[[Tensor], Tensor]:
            def run(hidden: Tensor) -> Tensor:
                length = hidden.shape[1]
                output: Tensor = block(hidden, attn_mask=self.text.attn_mask[:length, :length])
                return output

            return run

        def finish(hidden: Tensor) -> Tensor:
            assert mask is not None, "blocks can run only if they were created with a mask"
            return self._pooled(self.text.ln_final(hidden), mask)

        blocks = [
            ForwardBlock((f"text.transformer.resblocks.{number}",), with_mask(block))
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
        """Turn on open_clip's activation checkpointing of the blocks."""
        self.text.set_grad_checkpointing(True)
        return True

    def layer_groups(self) -> list[LayerGroup]:
        """Return the groups that open_clip's `lock_text_tower` counts, then the new pooling."""
        last = len(self.text.transformer.resblocks) - 1
        blocks = [(f"block.{number}", (f"text.transformer.resblocks.{number}",)) for number in range(last)]
        stem = ("embeddings", ("text.token_embedding", "text.positional_embedding"))
        last_block = (f"block.{last}", (f"text.transformer.resblocks.{last}", "text.ln_final"))
        parts: Parts = [stem, *blocks, last_block, ("projection", ("text.text_projection",)), ("pool", ("pool",))]
        return check_groups(self, groups_of(self, parts))


def resolve_open_clip_text(model: TextSettings) -> TowerSource:
    """Return the source of an open_clip text tower; ValueError for unknown models, weights or settings."""
    params, early = model.text, model.fusion == "early"
    clip = find_clip_model("model.text", params)
    config = with_config_changes("model.text.config", clip.text, params.config)
    describe = _describe_hf if config.get("hf_model_name") else _describe
    description, trained_pooling = describe(params, clip, config, early)
    notes: tuple[str, ...] = ()
    if params.pretrained and not early and params.pooling != trained_pooling:
        notes = (f"text: model.text.pooling = {params.pooling}, but these weights were trained with {trained_pooling}",)
    new = ("pool.",) if TEXT_POOLING[params.pooling](1).state_dict() and not early else ()
    if clip.weights is None:
        return TowerSource(description, None, None, new, notes)
    state = read_checkpoint(clip.weights).towers["text"]
    names = {_parameter_name(name, description["kind"]): name for name in state}
    names.pop("trunk.embeddings.position_ids", None)  # a buffer of older versions of transformers
    return TowerSource(description, str(clip.weights), rename_tensors(state, names), new, notes)


def _parameter_name(name: str, kind: str) -> str:
    if kind == "open_clip":
        return f"text.{name}"
    for prefix, ours in (("transformer.", "trunk."), ("proj.", "projection.")):
        if name.startswith(prefix):
            return ours + name.removeprefix(prefix)
    return name


def _describe(
    params: TextTowerParams, clip: ClipModel, config: dict[str, Any], early: bool
) -> tuple[Description, PoolingKind]:
    context, pool = config.get("context_length", 77), config.get("pool_type", "argmax")
    unsupported = [key for key in ("no_causal_mask", "embed_cls") if config.get(key)]
    if unsupported or pool not in ("argmax", "eos"):
        setting = f"{unsupported[0]} = true" if unsupported else f"pool_type = {pool!r}"
        raise ValueError(
            f"model.text.name = {params.name!r}: text towers with {setting} are not supported, because their features "
            "depend on the padding"
        )
    check_pooling(params, True, early)
    if params.max_tokens > context:
        raise ValueError(f"model.text.max_tokens = {params.max_tokens}: {params.name} has {context} positions")
    tokenizer = _tokenizer(params, config)
    if clip.weights and (tokenizer or pool == "eos"):  # open_clip's own tokenizer ends texts with its highest id
        _check_end(params.name, tokenizer or CLIP_NAME, config)
    description = {
        "kind": "open_clip",
        "embed_dim": clip.embed_dim,
        "text_cfg": config,
        "quick_gelu": clip.quick_gelu,
        "pooling": params.pooling,
        "max_tokens": params.max_tokens,
        "tokenizer": tokenizer or CLIP_NAME,
        "tokens": early,
    }
    return description, "last"


def _check_end(name: str | None, tokenizer: str, config: dict[str, Any]) -> None:
    """Raise ValueError if texts end in another token than the one at which the weights were pooled."""
    read = TextTokenizer(tokenizer)
    end = int(read.encode_batch(["a"], config.get("context_length", 77))[0][0, -1])
    by_name = config.get("pool_type") == "eos"
    pooled = config.get("eos_id", EOS_ID) if by_name else read.vocab_size - 1
    if end != pooled:
        where = f"eos_id = {pooled}" if by_name else "their highest token id"
        raise ValueError(
            f"model.text.name = {name!r}: its texts are pooled at {where}, which by the tokenizer {tokenizer} is not "
            f"the end of a text, token {end}; that is not supported. If it was trained with pooling at the end, set "
            f"pool_type = eos and eos_id = {end}, or eos_token_id = {end} in a config of transformers"
        )


def _tokenizer(params: TextTowerParams, config: dict[str, Any]) -> str | None:
    """Return the tokenizer that params or config name; ValueError if the config's reads texts in another way."""
    settings = {"clean": "lower"} | (config.get("tokenizer_kwargs") or {})
    changed = [f"{key} = {value!r}" for key, value in settings.items() if (key, value) != ("clean", "lower")]
    if params.tokenizer is None and changed:
        raise ValueError(
            f"model.text.name = {params.name!r}: its tokenizer has the setting {changed[0]}, which is not supported; "
            "set model.text.tokenizer to another"
        )
    return params.tokenizer or config.get("hf_tokenizer_name")


def _describe_hf(
    params: TextTowerParams, clip: ClipModel, config: dict[str, Any], early: bool
) -> tuple[Description, PoolingKind]:
    name, pooler = config["hf_model_name"], config.get("hf_pooler_type", "mean_pooler")
    if pooler not in HF_POOLERS:
        raise ValueError(
            f"model.text.name = {params.name!r}: hf_pooler_type = {pooler!r} is not supported; supported: "
            f"{', '.join(HF_POOLERS)}"
        )
    trunk = bert_of(Path(name)) or find_config(name, params)
    tokenizer = _tokenizer(params, config) or name
    description = describe_hf(trunk, params, early, tokenizer)
    kind, width = config.get("hf_proj_type", "mlp"), int(trunk.hidden_size)
    if kind in ("linear", "mlp"):
        # The hidden dim of open_clip's two-layer projection is the mean of its input and output dims.
        description["projection"] = [kind, clip.embed_dim, (width + clip.embed_dim) // 2]
    return description, HF_POOLERS[pooler]

"""Parameters without weight decay: what the architecture itself names, position embeddings and special tokens, and by
rule biases, norms and all parameters with fewer than two dimensions.

timm's and open_clip's architectures name theirs in `no_weight_decay()`. Hugging Face's do not, so theirs are known by
the names that its text models give them.
"""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from torch import nn

# Names of position embeddings and of learned tokens, as parts of a parameter's dotted name.
POSITIONS_AND_TOKENS = frozenset(
    {
        "pos_embed", "position_embedding", "position_embeddings", "positional_embedding", "embed_positions", "wpe",
        "distance_embedding", "rel_embeddings", "relative_attention_bias", "relative_position_bias_table",
        "cls_token", "cls_emb", "class_embedding", "dist_token", "distillation_token", "reg_token", "register_tokens",
        "mask_token",
    }
)  # fmt: skip


def undecayed_names(model: nn.Module) -> frozenset[str]:
    """Return the names of the model's parameters that have no weight decay."""
    names = {name for name, value in model.named_parameters() if value.ndim <= 1 or _by_name(name)}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if "norm" in type(module).__name__.lower():
            names |= {prefix + name for name, _ in module.named_parameters(recurse=False)}
        listed: Callable[[], Iterable[str]] | None = getattr(module, "no_weight_decay", None)
        if callable(listed):
            # timm allows patterns: XCiT names `pos_embed.*`.
            patterns, own = sorted(listed()), [name for name, _ in module.named_parameters()]
            names |= {prefix + name for name in own if any(fnmatchcase(name, pattern) for pattern in patterns)}
    return frozenset(names)


def _by_name(name: str) -> bool:
    parts = name.split(".")
    return parts[-1].endswith("bias") or not POSITIONS_AND_TOKENS.isdisjoint(parts)

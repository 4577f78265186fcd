"""Small composed models for tests: their settings, widths of stores, and random inputs."""

from pathlib import Path

import torch

from pipeline_lib.models.composed.build import build_composed, resolve_composed
from pipeline_lib.models.composed.face import ComposedModel
from pipeline_lib.models.composed.inputs import ComposedInputs, StoredWidths
from pipeline_lib.params.composed import ComposedParams

WIDTHS = StoredWidths(image=12, text=10, tokens=20)
SMALL = {
    "embedding_dim": 16,
    "logit_scale": 2.6593,
    "fusion": "none",
    "fusion_width": 24,
    "fusion_alpha": 0.1,
    "combiner": {"projection": 24, "hidden": 32, "dropout": 0.5},
    "q_former": {
        "weights": None, "tokenizer": None, "max_tokens": 8, "frozen": False, "dropout": 0.1, "queries": 3, "layers": 3,
        "width": 32, "heads": 2,
    },
    "losses": {"composed_contrast": 1.0, "prompt_contrast": 0.4, "query_alignment": 0.4, "patch_contrast": 0.0},
    "mask_false_negatives": True,
}  # fmt: skip


def composed_params(q_former=None, **changes) -> ComposedParams:
    """Return SMALL with changes; keys of training have the values of params.yaml."""
    from pipeline_lib.params.section import load_params

    section = load_params(Path(__file__).parents[2] / "params.yaml")["composed"]
    changed = {**SMALL, **changes, "q_former": {**SMALL["q_former"], **(q_former or {})}}
    return ComposedParams.model_validate({**section, **changed})


def composed_model(
    kind: str, tokenizer: Path, seed: int = 0, widths: StoredWidths = WIDTHS, **changes
) -> ComposedModel:
    """Return a model of a kind with random weights of a seed."""
    source = resolve_composed(kind, composed_params(**changes), widths, str(tokenizer))
    torch.manual_seed(seed)
    return build_composed(source.description, source)


def composed_inputs(batch: int, seed: int = 0, widths: StoredWidths = WIDTHS, patches: int = 7) -> ComposedInputs:
    """Return random inputs with texts of different lengths, for the 16 tokens of the tiny text tower."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 7, (batch, 1), generator=draw)
    mask = torch.arange(6) < lengths
    return ComposedInputs(
        image=torch.randn(batch, widths.image, generator=draw),
        tokens=torch.randn(batch, patches, widths.tokens, generator=draw),
        text=torch.randn(batch, widths.text, generator=draw),
        token_ids=torch.randint(2, 16, (batch, 6), generator=draw) * mask,
        token_mask=mask,
    )

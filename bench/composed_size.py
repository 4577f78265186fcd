"""A Q-Former of SPRC's size with random weights: parameters, time and peak memory of one training step.

    python bench/composed_size.py --batch 2 --fusion gated

Image tokens are random, 257 of width 1408 as EVA-g gives, so no image tower and no published weights are needed. Prints
one JSON line. Peak memory is that of the process, with the optimizer's state (AdamW).
"""

import argparse
import json
import time

import torch
from results import peak_bytes

from pipeline_lib.losses.composed_build import COMPOSED_LOSSES
from pipeline_lib.models.composed.build import build_composed
from pipeline_lib.models.composed.inputs import ComposedInputs

TOKENS, WIDTH, LENGTH, DIM = 257, 1408, 32, 256
CONFIG = {
    "vocab_size": 30523, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "max_position_embeddings": 512, "encoder_hidden_size": WIDTH,
}  # fmt: skip
WEIGHTS = {"composed_contrast": 1.0, "prompt_contrast": 0.4, "query_alignment": 0.4}


def main() -> None:
    """Build the model, run one step and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--fusion", default="none", choices=["none", "gated", "guided"])
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = build_composed(
        {
            "kind": "q_former",
            "embedding_dim": DIM,
            "logit_scale": 2.6593,
            "widths": {"image": WIDTH, "text": 768, "tokens": WIDTH},
            "patches": False,
            "fusion": {"kind": arguments.fusion, "width": 768, "alpha": 0.1},
            "q_former": {"config": CONFIG, "queries": 32, "max_tokens": LENGTH, "frozen": False, "project": False},
        }
    ).train()
    batch = arguments.batch
    ids = torch.randint(1000, 30000, (batch, LENGTH))
    reference = ComposedInputs(
        tokens=torch.randn(batch, TOKENS, WIDTH), token_ids=ids, token_mask=torch.ones_like(ids, dtype=torch.bool)
    )
    target = ComposedInputs(tokens=torch.randn(batch, TOKENS, WIDTH))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    built, start = peak_bytes() / 1e9, time.perf_counter()
    pairs = model(reference, target)
    losses = {name: COMPOSED_LOSSES[name](pairs) for name in WEIGHTS}
    sum(weight * losses[name] for name, weight in WEIGHTS.items()).backward()
    optimizer.step()
    figures = {
        "batch": batch,
        "fusion": arguments.fusion,
        "parameters": _count(model, ""),
        "q_former_parameters": _count(model, "passes."),
        "fusion_parameters": _count(model, "fusion."),
        "losses": {name: round(value.item(), 4) for name, value in losses.items()},
        "seconds": round(time.perf_counter() - start, 2),
        "peak_gb_built": round(built, 2),
        "peak_gb": round(peak_bytes() / 1e9, 2),
    }
    print(json.dumps(figures))


def _count(model: torch.nn.Module, prefix: str) -> int:
    """Return the number of parameters whose names have a prefix."""
    return sum(value.numel() for name, value in model.named_parameters() if name.startswith(prefix))


if __name__ == "__main__":
    main()

"""One training step of the classifier of recipe c-stage2 at full size: parameters, memory and time.

`python -m bench.classifier_step [--batch 2]` builds ViT-L/14 and its text tower with random weights, without the hub.
"""

import argparse
import time

import torch
from results import peak_bytes

from pipeline_lib.batch import Batch
from pipeline_lib.experiments.recipes.merging import cells, merge
from pipeline_lib.losses.build import build_losses
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.params.heads import weights_of
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.towers.kinds import resolve_towers

CLASSES = [f"class {number}" for number in range(27)]
RANDOM = {"weights": None, "pretrained": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=2)
    count = parser.parse_args().batch
    params = merge(cells("c-stage2", load_params())[0].params, {"model": {"image": RANDOM, "text": RANDOM}})
    settings = parse_section(ModelParams, params)
    losses = parse_section(LossesParams, params)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_model(describe(settings, resolve_towers(settings), False, CLASSES)).to(device).train()
    rows, tokens = torch.arange(count), torch.randint(1, 1000, (count, settings.text.max_tokens))
    batch = Batch(
        *[rows] * 3, has_text=rows >= 0, label=rows % len(CLASSES), token_ids=tokens, token_mask=tokens > 0,
        pixels=torch.randint(0, 256, (count, 3, settings.image.size, settings.image.size), dtype=torch.uint8),
    ).to(device)  # fmt: skip
    start = time.perf_counter()
    loss = build_losses(losses, list(weights_of(losses)), class_counts=[1] * len(CLASSES))["cross_entropy"](
        model(batch), batch
    )
    loss.backward()
    seconds = time.perf_counter() - start
    without_gradient = [name for name, value in model.named_parameters() if value.grad is None]
    size = sum(value.numel() for value in model.parameters())
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else peak_bytes()
    print(f"{size:,} parameters, without a gradient: {without_gradient}")
    print(
        f"batch {count} on {device}: loss {loss.item():.3f}, {seconds:.1f} s for the step, at most {peak / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    main()

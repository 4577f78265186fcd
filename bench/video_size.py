"""The 12-frame student with an open_clip pair and random weights: parameters, time and peak memory of a training step.

    python bench/video_size.py --batch 2                # all layers trained
    python bench/video_size.py --batch 2 --towers checkpointed
    python bench/video_size.py --batch 128 --towers stored

`stored` is a run with frozen towers, which reads the frames' features: only the heads run. Frames and tokens are
random. Prints one JSON line. Peak memory is that of the process, with the optimizer's state (AdamW).
"""

import argparse
import json
import time
from pathlib import Path

import torch
from results import peak_bytes

from pipeline_lib.batch import Batch
from pipeline_lib.losses.build import build_losses
from pipeline_lib.models.frame_pooling import mask_of
from pipeline_lib.models.multimodal import ImageTextModel, describe
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.activation_checkpointing import checkpoint_tower

PARAMS = Path(__file__).parents[1] / "params.yaml"


def main() -> None:
    """Build the model, run its steps and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--name", default="convnext_base_w", help="an open_clip model")
    parser.add_argument("--size", type=int, default=256, help="image size")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--layers", type=int, default=4, help="of the temporal transformer")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--towers", default="trained", choices=["trained", "checkpointed", "stored"])
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = build(arguments).train()
    batch = random_batch(model, arguments)
    loss = build_losses(parse_section(LossesParams, load_params(PARAMS)), ["info_nce"])["info_nce"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    built, seconds, losses = peak_bytes() / 1e9, [], []
    for _ in range(arguments.steps):
        start = time.perf_counter()
        value = loss(model(batch), batch)
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
        losses.append(value.item())
    figures = {
        **vars(arguments),
        "parameters": {part: _count(model, f"{part}.") for part in ("image", "text", "frames")},
        "attention_parameters": _count(model, "frames.attention."),
        "info_nce": [round(value, 4) for value in losses],
        "seconds": [round(value, 2) for value in seconds],
        "peak_gb_built": round(built, 2),
        "peak_gb": round(peak_bytes() / 1e9, 2),
    }
    print(json.dumps(figures))


def build(arguments: argparse.Namespace) -> ImageTextModel:
    """Return the model; with stored features its heads alone."""
    values = load_params(PARAMS)["model"]
    tower = {"kind": "open_clip", "name": arguments.name, "weights": None, "pretrained": False}
    values["image"] |= {**tower, "size": arguments.size, "pooling": None, "feature": "pooled", "args": {}}
    values["text"] |= {**tower, "pooling": "last", "max_tokens": 77, "tokenizer": None, "config": {}}
    values["projector"] |= {"image": "none", "text": "none"}
    values["frames"] |= {"pooling": "attention", "layers": arguments.layers, "max_frames": arguments.frames}
    params = ModelParams.model_validate(values)
    sources = resolve_towers(params)
    with torch.device("meta"):
        width = ImageTextModel(describe(params, sources, False, [])).image.dim
    params = params.model_copy(update={"embedding_dim": width, "logit_scale": 2.6593})
    dims = {"image": width, "text": width} if arguments.towers == "stored" else None
    model = ImageTextModel(describe(params, sources, True, []), dims)
    if arguments.towers == "checkpointed":
        checkpoint_tower("image", model.image)
    return model


def random_batch(model: ImageTextModel, arguments: argparse.Namespace) -> Batch:
    """Return a batch of clips with as many frames each, and a text each."""
    rows, size = torch.arange(arguments.batch), arguments.size
    counts = torch.full((arguments.batch,), arguments.frames)
    photos, width = arguments.batch * arguments.frames, model.image.dim
    content: dict[str, torch.Tensor] = {}
    if arguments.towers == "stored":
        content = {"image_features": torch.randn(photos, width), "text_features": torch.randn(len(rows), width)}
    else:
        content["pixels"] = torch.randint(0, 256, (photos, 3, size, size), dtype=torch.uint8)
        content["token_ids"] = torch.randint(1, 40000, (len(rows), 77))
        content["token_mask"] = torch.ones(len(rows), 77, dtype=torch.bool)
    return Batch(
        product=rows, group=rows, text=rows, has_text=rows >= 0, label=rows, num_photos=counts,
        photo_mask=mask_of(counts), **content,
    )  # fmt: skip


def _count(model: torch.nn.Module, prefix: str) -> int:
    """Return the number of parameters whose names have a prefix."""
    return sum(value.numel() for name, value in model.named_parameters() if name.startswith(prefix))


if __name__ == "__main__":
    main()

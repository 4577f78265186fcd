"""Synthetic inputs of the benchmarks: pictures, captions, a project of them, and a CLIP in open_clip's format.

Seeds are fixed, so all machines measure the same work. Pictures have smooth areas, edges and grain, as photos do; JPEGs
of noise alone would be unrealistically large.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from pipeline_lib.params.section import load_params
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.write import list_photos, write_shards
from pipeline_lib.training.fold_data import Inputs

REPO = Path(__file__).resolve().parent.parent
WORDS = ("red", "blue", "black", "striped", "plain", "large", "round", "cotton", "steel", "mug", "hat", "lamp")
FOLDER_CONFIG, FOLDER_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def photo(seed: int, width: int, height: int) -> Image.Image:
    """Return a picture with smooth areas, shapes and a little grain."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(40, 216, (9, 12, 3), dtype=np.uint8))
    picture = small.resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, w, h = (int(value) for value in rng.integers(0, (width, height, width // 3, height // 3)))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x, y, x + w + 1, y + h + 1), fill=tuple(int(value) for value in rng.integers(0, 256, 3)))
    grain = rng.normal(0, 6, (height, width, 1))
    return Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))


def studio_photo(seed: int, width: int, height: int) -> Image.Image:
    """Return a product photo: an object with a little grain on white, on half of the area."""
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(photo(seed, width * 7 // 10, height * 7 // 10), (width * 3 // 20, height * 3 // 20))
    return sheet


def write_photos(
    folder: Path, count: int, width: int = 640, height: int = 480, draw: Callable[..., Image.Image] = photo
) -> list[str]:
    """Write JPEGs as cameras do (4:2:0, quality 90); return their names."""
    folder.mkdir(parents=True)
    names = [f"{number:06d}.jpg" for number in range(count)]
    pictures = [draw(number, width, height) for number in range(min(count, 64))]
    for number, name in enumerate(names):
        stream = io.BytesIO()
        # Different crops of a few pictures, because drawing takes longer than the measured work.
        pictures[number % len(pictures)].crop((number % 7, number % 5, width - number % 11, height)).save(
            stream, "JPEG", quality=90
        )
        (folder / name).write_bytes(stream.getvalue())
    return names


def caption(number: int) -> str:
    """Return 5 to 12 words and a number, as long as a product title."""
    rng = np.random.default_rng((1, number))
    return " ".join(rng.choice(WORDS, int(rng.integers(5, 13)))) + f" {number}"


def write_project(
    root: Path, training: int, held_out: int, photo_size: int, shard_size: int, num_photos: int = 1
) -> Inputs:
    """Write catalogue, folds and shards of products with `num_photos` photos and one text; fold 0 is held out."""
    count = training + held_out
    photos = write_photos(root / "raw", count * num_photos, photo_size * 4 // 3, photo_size)
    media = [photos[first : first + num_photos] for first in range(0, len(photos), num_photos)]
    ids = [f"p{number:06d}" for number in range(count)]
    catalogue, folds, shards = root / "catalogue", root / "folds", root / "shards"
    for folder in (catalogue, folds, shards):
        folder.mkdir()
    texts = [caption(number) for number in range(count)]
    products = pl.DataFrame({"product_id": ids, "media": media, "text": texts})
    products = products.with_columns(label=pl.lit(None, pl.String), group_id=pl.col("product_id"))
    products.write_parquet(catalogue / "products.parquet")
    pl.DataFrame({"product_id": ids, "content": media}).write_parquet(catalogue / "media.parquet")
    queries = pl.DataFrame({"query_id": ids, "kind": "text", "text": texts})
    queries = queries.with_columns(split=pl.lit(None, pl.String))
    queries.write_parquet(catalogue / "queries.parquet")
    pl.DataFrame({"query_id": ids, "product_id": ids, "grade": 1}).write_parquet(catalogue / "relevance.parquet")
    fold = [1] * training + [0] * held_out
    pl.DataFrame({"product_id": ids, "fold": fold, "split": "train"}).write_parquet(folds / "folds.parquet")
    params = ShardsParams(size=shard_size, quality=92, photos_per_shard=256, colour_profile="convert")
    write_shards(list_photos(products.select("product_id", "media")), root / "raw", params, shards, 2)
    return Inputs(catalogue, folds, shards, root / "trunk")


def write_clip(
    folder: Path, size: int, context: int, trunk: str = "resnet10t", width: int = 256, layers: int = 4
) -> None:
    """Write a small CLIP with random weights in open_clip's format: a timm trunk and text layers of that width."""
    config = {
        "embed_dim": 256,
        "vision_cfg": {
            "timm_model_name": trunk, "timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": "linear",
            "image_size": size,
        },
        "text_cfg": {
            "context_length": context, "vocab_size": 49408, "width": width, "heads": width // 64, "layers": layers,
        },
    }  # fmt: skip
    write_clip_of(config, folder)


def write_clip_of(config: dict, folder: Path) -> None:
    """Write the CLIP of an open_clip configuration with random weights in open_clip's format."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = CLIP(config["embed_dim"], dict(config["vision_cfg"]), dict(config["text_cfg"]))
    save_file(model.state_dict(), folder / FOLDER_WEIGHTS)
    preprocess = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
    (folder / FOLDER_CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))


def params_of(clip: Path, size: int, context: int) -> dict:
    """Return params for that CLIP with the contrastive loss only, without any step that the peer does not have."""
    params = load_params(REPO / "params.yaml")
    for tower in ("image", "text"):
        params["model"][tower] |= {"kind": "open_clip", "name": str(clip), "pretrained": True}
    params["model"]["image"] |= {"size": size, "args": {}}
    params["model"]["text"] |= {"pooling": "last", "max_tokens": context, "config": {}}
    params["model"]["embedding_dim"] = 256
    params["model"]["projector"] |= {"image": "none", "text": "none"}
    for name, loss in params["losses"].items():
        loss["weight"] = float(name == "info_nce")
    params["losses"]["info_nce"]["mask_false_negatives"] = False
    params["train"] |= {
        "unfreeze_layers": "all", "batch_size": 64, "clip_norm": 0.0, "batch_norm": "batch",
        "photo": "first", "best_metric": "loss", "text_augment": "none",
        "tower_lr": 1e-4, "head_lr": 1e-4, "precision": "fp32", "augment": "clip", "crop_scale": 0.9,
        "init_from": str(REPO / "data/starts/none"),
    }  # fmt: skip
    return params

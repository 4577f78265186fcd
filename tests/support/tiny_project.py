"""A project of coloured squares with real tables, shards and towers, small enough to train in a second."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
from PIL import Image

from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.runtime import RuntimeParams
from pipeline_lib.params.section import load_params
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.params.train import TrainParams
from pipeline_lib.shards.write import list_photos, write_shards
from pipeline_lib.training.fold_data import Inputs
from pipeline_lib.training.run_start import RunConfig

PARAMS = Path(__file__).parents[2] / "params.yaml"
NO_START = Path(__file__).parents[2] / "data/starts/none"
COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 200, 30)}
KINDS = ("mug", "hat")


def two_of_every_sixth(number: int) -> int:
    """The photos of a product by its number, by default."""
    return 2 if number % 6 == 0 else 1


def write_project(root: Path, count: int = 36, num_photos: Callable[[int], int] = two_of_every_sixth) -> Inputs:
    """Write catalogue, folds and shards of `count` products in 3 folds; product n has `num_photos(n)` photos."""
    (root / "raw").mkdir(parents=True)
    rows = []
    for number in range(count):
        colour, kind = list(COLOURS)[number % 3], KINDS[number // 3 % 2]
        media = [f"p{number}_{photo}.png" for photo in range(num_photos(number))]
        for photo, name in enumerate(media):
            picture = Image.new("RGB", (48, 48), COLOURS[colour])
            picture.paste((255, 255, 255), (8, 8, 20 if kind == "mug" else 40, 30 + photo))
            picture.putpixel((number % 48, number // 48), (number, number, 0))
            picture.save(root / "raw" / name)
        text = f"{colour} {kind} " + " ".join(["striped", "plain", "lamp"][: number % 4])
        rows.append(
            {"product_id": f"p{number}", "media": media, "text": text.strip(), "label": kind, "fold": number // 6 % 3}
        )
    rows[5]["text"], rows[7]["label"] = "", None
    products = pl.DataFrame(rows).with_columns(group_id=pl.col("product_id"))
    catalogue, folds, shards = root / "catalogue", root / "folds", root / "shards"
    for folder in (catalogue, folds, shards):
        folder.mkdir()
    products.select("product_id", "media", "text", "label", "group_id").write_parquet(catalogue / "products.parquet")
    hashed = [[hashlib.sha256((root / "raw" / name).read_bytes()).hexdigest() for name in row["media"]] for row in rows]
    media = products.select("product_id", "media").with_columns(pl.Series("content", hashed))
    media.write_parquet(catalogue / "media.parquet")
    texts = products.filter(pl.col("text") != "").with_columns(query_id="q " + pl.col("text"), kind=pl.lit("text"))
    texts = texts.with_columns(split=pl.lit(None, pl.String))
    texts.select("query_id", "kind", "text", "split").unique(maintain_order=True).write_parquet(
        catalogue / "queries.parquet"
    )
    texts.select("query_id", "product_id", pl.lit(1).alias("grade")).write_parquet(catalogue / "relevance.parquet")
    products.select("product_id", "fold", split=pl.lit("train")).write_parquet(folds / "folds.parquet")
    params = ShardsParams(size=48, quality=90, photos_per_shard=16, colour_profile="convert")
    write_shards(list_photos(products.select("product_id", "media")), root / "raw", params, shards, 1)
    return Inputs(catalogue, folds, shards, root / "features" / "trunk")


def copy_towers(project: Path, image: Path, text: Path) -> tuple[Path, Path]:
    """Copy two towers into a project's data/weights, where stages read them; return their paths in the project."""
    places = Path("data/weights/image"), Path("data/weights/text")
    for place, folder in zip(places, (image, text), strict=True):
        shutil.copytree(folder, project / place, dirs_exist_ok=True)
    return places


TRAIN = {
    "seed": 3, "unfreeze_layers": 2, "epochs": 3, "batch_size": 8, "accumulate": 1, "tower_lr": 1e-3, "head_lr": 1e-2,
    "weight_decay": 0.05, "warmup_fraction": 0.1, "warmup_steps": None, "lr_schedule": "cosine",
    "clip_norm": 1.0, "batch_norm": "batch", "precision": "fp32", "augment": "none",
    "towers": {
        name: {"unfreeze_layers": None, "freeze_first": None, "embeddings": "follow"} for name in ("image", "text")
    },
    "schedule": [], "unfreeze_lr_scale": 0.1, "lr_decay": 1.0, "init_from": str(NO_START),
    "init_heads": True, "allow_seen": False, "ema_decay": 0.0, "grad_checkpointing": {"image": False, "text": False},
    "crop_scale": 0.6, "photo": "random", "text": "first", "mix": "none", "mix_alpha": 0.2,
    "use_stored_features": True, "best_metric": "loss", "patience": 0,
    "mining": "none", "mining_share": 0.5,
    "text_augment": "none", "text_augment_rate": 0.1,
}  # fmt: skip


def make_settings(
    image: Path, text: Path, /, info_nce: float = 1.0, cross_entropy: float = 1.0, losses_on=None, workers=0, **train
) -> RunConfig:
    """Return the settings of a tiny run; `losses_on` changes params of losses, `train` replaces values of TRAIN.

    Without `workers` the batches are loaded in this process, which params.yaml does not allow: starting a worker for an
    epoch takes longer than the epoch.
    """
    model = {
        "weights_root": "data/weights",
        "image": {
            "kind": "timm", "name": str(image), "weights": None, "pretrained": True, "size": 32, "mean": None,
            "std": None, "resize_mode": None, "interpolation": None, "args": {}, "feature": "pooled", "pooling": None,
        },
        "text": {
            "kind": "hf", "name": str(text), "weights": None, "pretrained": True, "config": {}, "tokenizer": None,
            "pooling": "mean", "max_tokens": 16,
        },
        "projector": {"image": "linear", "text": "linear", "hidden": 20, "shared": False},
        "fusion": "late", "fusion_heads": 2, "similarity": "cosine", "temperature": "learned",
        "embedding_dim": 8, "logit_scale": 2.6593, "text_vocabulary": "full", "missing_image": "black",
        "classifier": {"kind": "mlp", "inputs": "concat", "hidden": 12, "dropout": 0.1, "scale": 10.0},
        "register_memory": {"slots_private": 0, "slots_shared": 0},
        "positional_conv": {"after_block": 0, "stride": 2},
        "frames": {"pooling": "mean", "layers": 0, "heads": 2, "max_frames": 8, "temperature": 0.1},
    }  # fmt: skip
    losses = load_params(PARAMS)["losses"]
    changes = {"info_nce": {"weight": info_nce}, "cross_entropy": {"weight": cross_entropy}, **(losses_on or {})}
    for name, values in losses.items():
        values.update({"weight": 0.0, **changes.get(name, {})})
    return RunConfig(
        model=ModelParams.model_validate(model),
        losses=LossesParams.model_validate(losses),
        train=TrainParams.model_validate({**TRAIN, **train}),
        runtime=RuntimeParams.model_validate(
            {
                **load_params(PARAMS)["runtime"],
                "workers": 1,
                "device": "cpu",
                "batch_size": 16,
                "log_every": 2,
                "cache_gb": 0.1,
            }
        ).model_copy(update={"workers": workers}),
        device="cpu",
    )


def without_photos(inputs: Inputs, *ids: str) -> None:
    """Remove the media of products; their photos in the shards replace the black photo."""
    path = inputs.catalogue / "products.parquet"
    table = pl.read_parquet(path)
    bare = pl.when(pl.col("product_id").is_in(ids)).then(pl.lit([], dtype=pl.List(pl.String))).otherwise("media")
    table.with_columns(media=bare).write_parquet(path)


def with_learned_image(settings: RunConfig) -> RunConfig:
    """Let a model learn a vector for products without an image."""
    model = {**settings.model.model_dump(), "missing_image": "learned"}
    object.__setattr__(settings, "model", ModelParams.model_validate(model))
    return settings

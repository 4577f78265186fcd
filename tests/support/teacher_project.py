"""Teachers for the tiny project: saved models as `vitrine keep` lays them out, and stores of their outputs."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.features.inputs import ExtractionRun, read_extraction_inputs
from pipeline_lib.features.teachers import extract_teachers
from pipeline_lib.inference.engine import InferenceEngine, normalise_rows
from pipeline_lib.loading.products import photo_key, read_photos_fingerprint, text_key
from pipeline_lib.models.saved import make_whole
from pipeline_lib.stores.store import write_store
from pipeline_lib.stores.teacher_store import TeacherCard, write_card

ON = {"contrastive_distillation": {"weight": 1.0}}


def keep(out: Path, start: Path) -> Path:
    """Copy a trained fold to a folder of teachers."""
    start.mkdir(parents=True)
    for name in ("model.safetensors", "model.json", "seen.npy"):
        shutil.copy(out / name, start / name)
    shutil.copytree(out / "tokenizer", start / "tokenizer")
    make_whole(start)
    return start


def write_random_teacher(inputs, name: str, dim: int, seed: int) -> Path:
    """Write the stores of a teacher with random outputs for every photo and text; return their folder."""
    folder, drawn = inputs.trunk.parent / name, np.random.default_rng(seed)
    photos = pl.read_parquet(inputs.shards / "manifest.parquet", columns=["product_id", "photo"])
    texts = pl.read_parquet(inputs.catalogue / "products.parquet", columns=["text"])["text"].unique().sort()
    keys = {"image": [photo_key(*row) for row in photos.iter_rows()], "text": [text_key(text) for text in texts]}
    for kind, ids in keys.items():
        write_store(folder / kind, ids, normalise_rows(drawn.standard_normal((len(ids), dim))), (name, "view"))
    logits = drawn.standard_normal((len(keys["image"]), 2))
    likely = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    write_store(folder / "classes", keys["image"], likely, (name, "view"), "float32")
    write_card(
        folder,
        TeacherCard(
            name,
            read_photos_fingerprint(inputs.shards / "manifest.parquet"),
            (20.0, 12.0),
            ("hat", "mug"),
            trained=False,
        ),
    )
    return folder


def extract(
    start: Path, inputs, name: str, progress: Path | None = None, log=None, dtype="float32", words_max_gb=None
) -> Path:
    """Extract as `stages.teacher --name NAME` does, with progress files in `progress`; return the folder of stores."""
    folder = inputs.trunk.parent / name
    extracted = read_extraction_inputs(inputs.catalogue, inputs.shards, None)
    run = ExtractionRun(InferenceEngine("cpu", 16, 0, "fp32"), dtype, progress, log)
    extract_teachers(start, extracted, folder, run, words_max_gb)
    return folder

"""The stores of one frozen encoder for a whole catalogue, made where a killed run goes on, then put in their place.

They are written outside DVC's outs, which DVC removes before a stage runs, and come there by hard links: no byte is
written twice, and the outs stay when the folder they were made in is removed.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json, writing
from pipeline_lib.features.joint_space import why_apart
from pipeline_lib.features.teacher_models import teacher_models
from pipeline_lib.features.teachers import extract_teacher
from pipeline_lib.features.trunk import extract_trunk
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.models.tower_kinds import resolve_towers
from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.plan import TRUNK
from pipeline_lib.shards.read import ShardReader, open_shards
from pipeline_lib.stores.drawn_views import views_of

# In the folder of a run: stores that are not whole, and stores that are.
HALF, WHOLE = "half", "stores"


@dataclass(frozen=True)
class ExtractionInputs:
    """What an encoder is run over: `photos` has product_id, photo and the product's own text, as the manifest lies."""

    reader: ShardReader
    photos: pl.DataFrame
    texts: list[str]


def read_extraction_inputs(catalogue: Path, shards: Path, url: str | None) -> ExtractionInputs:
    """Return a catalogue's photos and texts, read from the shards or from a copy of them at `url`."""
    own = pl.read_parquet(catalogue / "products.parquet", columns=["product_id", "text", "label"])
    photos = pl.read_parquet(shards / "manifest.parquet", columns=["product_id", "photo"])
    photos = photos.join(own.drop("label"), on="product_id", how="left", maintain_order="left")
    queries = pl.read_parquet(catalogue / "queries.parquet", columns=["text"])
    # Names of classes are the prompts of the zero-shot baseline.
    texts = [*own["text"], *queries["text"], *own["label"].drop_nulls().unique().sort()]
    return ExtractionInputs(open_shards(shards, url), photos, texts)


def extract(
    name: str, seen: ExtractionInputs, params: FeaturesParams, model: ModelParams, folder: Path,
    engine: InferenceEngine, tell: Callable[[str], object] | None = None,
) -> Path:  # fmt: skip
    """Return a folder of whole stores inside `folder`, going on from what a killed run left there.

    Of several processes all must call this, and the first one tells and writes.
    """
    whole, half, processes = folder / WHOLE, folder / HALF, engine.processes
    if processes.broadcast_from_first(whole.is_dir):
        return whole
    if processes.is_first:
        half.mkdir(exist_ok=True)
    if name == TRUNK:
        sources = resolve_towers(model)
        trunk = params.trunk
        layers = trunk.layers if trunk.at == "boundary" else 0
        extract_trunk(
            sources, seen.reader, seen.photos, seen.texts, half, engine, params.dtype, layers, params.max_gb, tell,
            folder, views_of(trunk.augment, trunk.crop_scale, trunk.views, trunk.view_seed),
        )  # fmt: skip
        if processes.is_first:
            write_json(half / "joint.json", {"why_apart": why_apart(sources)})
    else:
        for teacher in teacher_models(paths.STARTS / name):
            out = half / teacher.fold
            extract_teacher(teacher, seen.reader, seen.photos, seen.texts, out, engine, params.dtype, tell, folder)
    if processes.is_first:
        half.rename(whole)
    return whole


def link_files(made: Path, out: Path) -> None:
    """Put the files of a folder into another one by hard links, by copies where those cannot be made."""
    for path in sorted(path for path in made.rglob("*") if path.is_file()):
        target = out / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:  # another filesystem, or one without hard links
            with writing(target):
                shutil.copyfile(path, target)

"""The photos and texts that an encoder runs over, and how the extraction of its features runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.read import read_table
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.shards.read import ShardReader, open_shards


@dataclass(frozen=True)
class ExtractionInputs:
    """The photos and texts of a catalogue.

    `photos` has the columns product_id, photo, text (the product's own) and has_photo (False for the black photo of a
    product without one), in the order of the manifest. What reads photos alone needs the first two.
    """

    reader: ShardReader
    photos: pl.DataFrame
    texts: list[str]


@dataclass(frozen=True)
class ExtractionRun:
    """How an extraction runs.

    `dtype` is the number format of the stores. `progress` is a folder for progress files; without it the extraction
    always starts from the first photo. `log` receives messages on rank 0.
    """

    engine: InferenceEngine
    dtype: str
    progress: Path | None = None
    log: Callable[[str], object] | None = None

    def describe(self, inputs: ExtractionInputs, encoder: str) -> None:
        """Log what will be encoded, before an encoder runs over it."""
        engine = self.engine
        count = f"{len(inputs.photos):,} photos and {len(set(inputs.texts)):,} texts"
        self.report(f"{count} by {encoder} on {engine.device} in batches of {engine.batch_size}")

    def report(self, message: str) -> None:
        """Log a message on rank 0."""
        if self.log is not None and self.engine.processes.is_first:
            self.log(message)


def extraction_tables(catalogue: Path) -> tuple[Path, Path]:
    """Return the files of a catalogue that extraction reads, products and queries; dvc.yaml has the same ones."""
    return catalogue / "products.parquet", catalogue / "queries.parquet"


def read_extraction_inputs(catalogue: Path, shards: Path, url: str | None) -> ExtractionInputs:
    """Return a catalogue's photos and texts; encoded photos are read from `shards`, or from a copy of them at `url`."""
    products, texts_of_queries = extraction_tables(catalogue)
    own = read_table(products, columns=["product_id", "text", "label", "media"])
    own = own.with_columns(has_photo=pl.col("media").list.len() > 0).drop("media")
    photos = read_table(shards / "manifest.parquet", columns=["product_id", "photo"])
    photos = photos.join(own.drop("label"), on="product_id", how="left", maintain_order="left")
    queries = read_table(texts_of_queries, columns=["text"])
    # Class names are the prompts of the zero-shot baseline.
    texts = [*own["text"], *queries["text"], *own["label"].drop_nulls().unique().sort()]
    return ExtractionInputs(open_shards(shards, url), photos, texts)

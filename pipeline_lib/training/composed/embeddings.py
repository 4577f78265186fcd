"""Embeddings by a composed model: of queries in memory, of products block by block into a file, which is mapped.

A Q-Former has 32 vectors a product, so the products of a large catalogue are never in memory together.
With a fusion, queries have gate maps, too: how far the sentence changes each patch of the reference.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from pipeline_lib.artifacts.io import write_table
from pipeline_lib.artifacts.paths import COMPOSED_GATES, COMPOSED_QUERIES_OFF
from pipeline_lib.artifacts.schemas import COMPOSED_GATES_SCHEMA
from pipeline_lib.evaluation.composed_ranks import ComposedGallery
from pipeline_lib.execution.precision import autocast
from pipeline_lib.models.composed.face import ComposedModel
from pipeline_lib.models.composed.fusions import switched_off
from pipeline_lib.stores.store import MATRIX, MatrixWriter, map_matrix, write_store
from pipeline_lib.training.composed.stored_inputs import InputReader, Rows

Vectors = NDArray[np.floating]
# Number format of the stored embeddings: queries are few, products many.
QUERY_DTYPE, PRODUCT_DTYPE = "float32", "float16"
QUERIES, PRODUCTS = "queries", "products"


@dataclass(frozen=True)
class Embedder:
    """A model with the reader of its inputs; `batch_size` rows are computed together."""

    model: ComposedModel
    reader: InputReader
    batch_size: int
    device: str
    precision: str

    def queries(self, references: Rows, texts: Rows) -> NDArray[np.float32]:
        """Return unit embeddings (queries, dim), by rows of products and of texts."""
        return self.queries_and_gates(references, texts)[0]

    def queries_and_gates(
        self, references: Rows, texts: Rows
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return `queries`, and the mean of the gate over its channels (queries, tokens), None without a fusion."""
        blocks = [np.empty((0, self.model.description["embedding_dim"]), np.float32)]
        gates = []
        for rows in self._batches(len(references)):
            inputs = self.reader.references(references[rows], texts[rows]).to(self.device)
            with self._inference():
                outputs = self.model.compose(inputs, extra=False)
                blocks.append(outputs.query.float().cpu().numpy())
                if "gate" in outputs.extra:
                    gates.append(outputs.extra["gate"].float().mean(dim=-1).cpu().numpy())
        return np.concatenate(blocks), np.concatenate(gates) if gates else None

    def write_products(self, products: Rows, folder: Path) -> tuple[MatrixWriter, int]:
        """Write embeddings (products, vectors x dim) of rows of products; return the writer and the vectors of each."""
        writer: MatrixWriter | None = None
        vectors = 0
        for rows in self._batches(len(products)):
            inputs = self.reader.targets(products[rows]).to(self.device)
            with self._inference():
                block = self.model.encode_targets(inputs).float().cpu().numpy()
            vectors = block.shape[1]
            if writer is None:
                writer = MatrixWriter(folder, len(products), vectors * block.shape[2], PRODUCT_DTYPE)
            writer.write(rows.start, block.reshape(len(block), -1))
        assert writer is not None, "a gallery has products"
        writer.flush()
        return writer, vectors

    def products(self, products: Rows, folder: Path) -> Vectors:
        """Return embeddings (products, vectors, dim) as a map of a file that is written into `folder`."""
        _, vectors = self.write_products(products, folder)
        matrix: Vectors = np.asarray(map_matrix(folder / MATRIX))
        return matrix.reshape(len(products), vectors, -1)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Compute in evaluation mode without gradients, in the run's precision."""
        trained = self.model.training
        self.model.eval()
        with torch.inference_mode(), autocast(self.device, self.precision):
            yield
        self.model.train(trained)

    def _batches(self, count: int) -> Iterator[slice]:
        for start in range(0, count, self.batch_size):
            yield slice(start, min(start + self.batch_size, count))


@dataclass(frozen=True)
class GalleryRows:
    """Rows of one gallery's queries and products in the tables of a reader: reference and text, and products."""

    references: Rows
    texts: Rows
    products: Rows

    @classmethod
    def of(cls, gallery: ComposedGallery, row_of: Mapping[str, int], text_of: Mapping[str, int]) -> "GalleryRows":
        """Look the ids and texts of a gallery up."""
        queries = gallery.queries

        def rows(keys: Iterable[str], known: Mapping[str, int]) -> Rows:
            return np.array([known[key] for key in keys], np.int64)

        return cls(
            rows(queries["reference_product_id"], row_of),
            rows(queries["text"], text_of),
            rows(gallery.product_ids, row_of),
        )


def write_galleries(
    embedder: Embedder, galleries: Sequence[tuple[ComposedGallery, GalleryRows]], out: Path, origin: tuple[str, str]
) -> None:
    """Write the stores `out`/queries (queries, dim) and `out`/products (products, vectors x dim), gallery by gallery.

    The rows of a gallery follow one another, so a reader maps them. `origin` is the model's fingerprint and the
    preprocessing of the photos. With a fusion, gates.parquet has the gate map of each query, and
    `out`/queries_fusion_off its embedding with alpha = 0: what the fusion changes for the same query.
    """
    both = [embedder.queries_and_gates(rows.references, rows.texts) for _, rows in galleries]
    queries, gates = [own for own, _ in both], [gate for _, gate in both if gate is not None]
    query_ids = [key for gallery, _ in galleries for key in gallery.query_ids]
    write_store(out / QUERIES, query_ids, np.concatenate(queries), origin, QUERY_DTYPE)
    writer, _ = embedder.write_products(np.concatenate([rows.products for _, rows in galleries]), out / PRODUCTS)
    writer.close([key for gallery, _ in galleries for key in gallery.product_ids], *origin)
    fusion: Any = getattr(embedder.model, "fusion", None)
    if fusion is not None:
        with switched_off(fusion):
            plain = [embedder.queries(rows.references, rows.texts) for _, rows in galleries]
        write_store(out / COMPOSED_QUERIES_OFF, query_ids, np.concatenate(plain), origin, QUERY_DTYPE)
    tokens = embedder.reader.stores.tokens
    if gates and tokens is not None:
        write_table(gate_table(query_ids, np.concatenate(gates), tokens.header.grid or []), out / COMPOSED_GATES)


def gate_table(query_ids: Sequence[str], gates: NDArray[np.float32], grid: Sequence[int]) -> pl.DataFrame:
    """Return COMPOSED_GATES_SCHEMA rows of gates (queries, tokens); `grid` is [rows, columns] or [tokens].

    Without rows and columns the patches are the largest square that the tokens hold, behind class and register tokens.
    """
    rows, columns = grid if len(grid) == 2 else 2 * (math.isqrt(gates.shape[1]),)
    patches = gates[:, gates.shape[1] - rows * columns :]
    return pl.DataFrame({"query_id": query_ids, "rows": rows, "gate": patches}).cast(pl.Schema(COMPOSED_GATES_SCHEMA))

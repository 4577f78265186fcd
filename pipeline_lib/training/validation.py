"""What a model is worth on the held-out fold after an epoch: its losses, and the metrics a checkpoint is chosen by.

Every product is seen once, with its first photo (where it trains with all of them: with all) and the fixed view; the
final figures, over all photos and views, are the business of the embed and evaluate stages.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch.utils.data import Dataset

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.inference.engine import Array
from pipeline_lib.loading.dataset import data_loader, sequential_batches
from pipeline_lib.loading.products import Products
from pipeline_lib.metrics.classification import Labels, class_figures, confusion_counts
from pipeline_lib.metrics.ranking import rank_figures
from pipeline_lib.metrics.recall import best_positive_ranks
from pipeline_lib.metrics.relevance import Positions, positions_from_pairs
from pipeline_lib.training.task import Task

# Figure -> column of the history, for texts that look for images, and for images that look for texts.
REPORTED = {name: name for name in ("MeanRecall", "R@1", "R@5", "R@10")}
REVERSED = {name: f"i2t_{name}" for name in REPORTED}


@dataclass(frozen=True)
class HeldOutQueries:
    """Texts that find at least one held-out product, and the rows of the products each should find."""

    texts: list[str]
    positives: Positions


def held_out_queries(queries: pl.DataFrame, relevance: pl.DataFrame, product_ids: list[str]) -> HeldOutQueries:
    """Keep the text queries with a positive among `product_ids`."""
    rows = pl.DataFrame({"product_id": product_ids}).with_row_index("row")
    found = relevance.join(rows, on="product_id").join(queries.filter(pl.col("kind") == "text"), on="query_id")
    ids = found["query_id"].unique().sort()
    numbers = found.join(pl.DataFrame({"query_id": ids}).with_row_index("number"), on="query_id")
    texts = queries.filter(pl.col("query_id").is_in(ids.implode())).sort("query_id")["text"].to_list()
    pairs = positions_from_pairs(numbers["number"].to_numpy(), numbers["row"].to_numpy(), len(ids))
    return HeldOutQueries(texts, pairs)


@dataclass(frozen=True)
class Validator:
    """Held-out products and queries, with the way to embed a query's text."""

    batches: Dataset[Batch]
    products: Products
    queries: HeldOutQueries
    batch_size: int
    workers: int
    embed_texts: Callable[[list[str]], Array]

    def measure(self, task: Task) -> dict[str, float]:
        """Return `val_loss` and the metrics of the heads the model has."""
        task.model.eval()
        keys = sequential_batches(len(self.products), self.batch_size)
        images: list[Array] = []
        texts: list[Array] = []
        logits: list[Array] = []
        losses, sizes = [], []
        with torch.inference_mode():
            for batch in data_loader(self.batches, keys, self.workers, task.device):
                outputs, named = task.run(batch)
                losses.append(named["total"])
                sizes.append(len(batch.product))
                self._keep(outputs, images, texts, logits)
            value = np.average(torch.stack(losses).cpu().numpy(), weights=sizes)
        return {"val_loss": float(value), **self._ranking(images, texts), **self._classes(logits)}

    def _keep(self, outputs: Outputs, images: list[Array], texts: list[Array], logits: list[Array]) -> None:
        if outputs.image_embedding is not None:
            images.append(outputs.image_embedding.float().cpu().numpy())
        if outputs.text_embedding is not None:
            texts.append(outputs.text_embedding.float().cpu().numpy())
        if outputs.class_logits is not None:
            logits.append(outputs.class_logits.float().cpu().numpy())

    def _ranking(self, images: list[Array], texts: list[Array]) -> dict[str, float]:
        if not images or not self.queries.texts:
            return {}
        queries, gallery = self._query_embeddings(np.concatenate(texts)), np.concatenate(images)
        positives = self.queries.positives
        described = positives.transposed(len(gallery))
        asking = np.flatnonzero(described.counts())
        ranks = best_positive_ranks(queries, gallery, positives)
        backwards = best_positive_ranks(gallery[asking], queries, described.take(asking))
        ways = ((rank_figures(ranks), REPORTED), (rank_figures(backwards), REVERSED))
        return {column: figures[name] for figures, columns in ways for name, column in columns.items()}

    def _query_embeddings(self, of_products: Array) -> Array:
        """Return (queries, dim); a query that is some product's text was embedded with that product already."""
        rows = {self.products.texts[number]: row for row, number in enumerate(self.products.text)}
        new = [text for text in self.queries.texts if text not in rows]
        added = dict(zip(new, self.embed_texts(new), strict=True)) if new else {}
        return np.stack([added[text] if text in added else of_products[rows[text]] for text in self.queries.texts])

    def _classes(self, logits: list[Array]) -> dict[str, float]:
        known = self.products.label >= 0
        if not logits or not known.any():
            return {}
        truth, said = self.products.label[known], np.concatenate(logits)[known]
        figures = class_figures(truth, said)
        measured = {name: figures[name] for name in ("top1", "top3", "macro_f1")}
        return {**measured, "balanced_accuracy": mean_hit(truth, said)}


def mean_hit(truth: Labels, said: Array) -> float:
    """Return the mean, over the classes that occur, of the share of their products that are told right."""
    counts = confusion_counts(truth, said.argmax(axis=1), said.shape[1])
    support = counts.sum(axis=1)
    return float((counts.diagonal()[support > 0] / support[support > 0]).mean())

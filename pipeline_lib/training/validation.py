"""Validation on the held-out fold after an epoch: the losses, and the metrics that choose the checkpoint.

Every product is evaluated once, with its first photo (with all photos if training uses all) in the fixed view. The
embed and evaluate stages compute the final metrics, over all photos and views.
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
from pipeline_lib.metrics.classification import Labels, class_figures
from pipeline_lib.metrics.ranking import rank_figures
from pipeline_lib.metrics.recall import both_ways_ranks
from pipeline_lib.metrics.relevance import Positions, positions_from_pairs
from pipeline_lib.training.task import Task

# Metric -> column of the history, for text-to-image and for image-to-text retrieval.
TEXT_TO_IMAGE = {name: name for name in ("MeanRecall", "R@1", "R@5", "R@10")}
IMAGE_TO_TEXT = {name: f"i2t_{name}" for name in TEXT_TO_IMAGE}


@dataclass(frozen=True)
class HeldOutQueries:
    """Texts with at least one relevant held-out product, and the rows of the relevant products of each."""

    texts: list[str]
    positives: Positions


def held_out_queries(queries: pl.DataFrame, relevance: pl.DataFrame, product_ids: list[str]) -> HeldOutQueries:
    """Return the text queries with a relevant product (of a grade above 0) among `product_ids`."""
    rows = pl.DataFrame({"product_id": product_ids}).with_row_index("row")
    texts = queries.filter(pl.col("kind") == "text")
    relevant = relevance.filter(pl.col("grade") > 0).join(rows, on="product_id").join(texts, on="query_id")
    ids = relevant["query_id"].unique().sort()
    numbers = relevant.join(pl.DataFrame({"query_id": ids}).with_row_index("number"), on="query_id")
    found = queries.filter(pl.col("query_id").is_in(ids.implode())).sort("query_id")["text"].to_list()
    pairs = positions_from_pairs(numbers["number"].to_numpy(), numbers["row"].to_numpy(), len(ids))
    return HeldOutQueries(found, pairs)


@dataclass(frozen=True)
class Validator:
    """Held-out products and queries; `embed_texts` returns the embeddings (texts, dim) of query texts."""

    batches: Dataset[Batch]
    products: Products
    queries: HeldOutQueries
    batch_size: int
    workers: int
    embed_texts: Callable[[list[str]], Array]

    def measure(self, task: Task) -> dict[str, float]:
        """Return `val_loss` and the metrics of the model's heads."""
        task.model.eval()
        keys = sequential_batches(len(self.products), self.batch_size)
        images: list[Array] = []
        texts: list[Array] = []
        logits: list[Array] = []
        losses, sizes = [], []
        with torch.inference_mode():
            for batch in data_loader(self.batches, keys, self.workers, task.device):
                outputs, named = task.compute(batch)
                losses.append(named["total"])
                sizes.append(len(batch.product))
                self._append(outputs, images, texts, logits)
            value = np.average(torch.stack(losses).cpu().numpy(), weights=sizes)
        return {"val_loss": float(value), **self._ranking(images, texts, task.device), **self._classes(logits)}

    def _append(self, outputs: Outputs, images: list[Array], texts: list[Array], logits: list[Array]) -> None:
        if outputs.image_embedding is not None:
            images.append(outputs.image_embedding.float().cpu().numpy())
        if outputs.text_embedding is not None:
            texts.append(outputs.text_embedding.float().cpu().numpy())
        if outputs.class_logits is not None:
            logits.append(outputs.class_logits.float().cpu().numpy())

    def _ranking(self, images: list[Array], texts: list[Array], device: str) -> dict[str, float]:
        """Return the retrieval metrics of both directions, ranked on `device`; empty without retrieval or queries."""
        if not images or not self.queries.texts:
            return {}
        queries, gallery = self._query_embeddings(np.concatenate(texts)), np.concatenate(images)
        positives = self.queries.positives
        text_to_image, image_to_text = both_ways_ranks(queries, gallery, positives, device)
        directions = ((rank_figures(text_to_image), TEXT_TO_IMAGE), (rank_figures(image_to_text), IMAGE_TO_TEXT))
        return {column: metrics[name] for metrics, columns in directions for name, column in columns.items()}

    def _query_embeddings(self, product_texts: Array) -> Array:
        """Return (queries, dim); a query that is a product's text has that product's embedding already."""
        rows = {self.products.texts[number]: row for row, number in enumerate(self.products.text)}
        new = [text for text in self.queries.texts if text not in rows]
        embedded = dict(zip(new, self.embed_texts(new), strict=True)) if new else {}
        return np.stack(
            [embedded[text] if text in embedded else product_texts[rows[text]] for text in self.queries.texts]
        )

    def _classes(self, logits: list[Array]) -> dict[str, float]:
        """Return the classification metrics; empty without a classifier or labels."""
        labelled = self.products.label >= 0
        if not logits or not labelled.any():
            return {}
        truth, predicted = self.products.label[labelled], np.concatenate(logits)[labelled]
        metrics = class_figures(truth, predicted)
        chosen = {name: metrics[name] for name in ("top1", "top3", "macro_f1")}
        return {**chosen, "balanced_accuracy": balanced_accuracy(truth, predicted)}


def balanced_accuracy(truth: Labels, logits: Array) -> float:
    """Return the mean recall of the classes that occur in `truth`; logits (products, classes)."""
    right = np.bincount(truth[truth == logits.argmax(axis=1)], minlength=logits.shape[1])
    support = np.bincount(truth, minlength=logits.shape[1])
    return float((right[support > 0] / support[support > 0]).mean())

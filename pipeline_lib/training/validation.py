"""Validation on the held-out fold after an epoch: the losses, and the metrics that choose the checkpoint.

Every product is evaluated once, with its first photo (with all photos if training uses all) in the fixed view. The
embed and evaluate stages compute the final metrics, over all photos and views.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline_lib.batch import Batch
from pipeline_lib.inference.engine import Array
from pipeline_lib.loading.dataset import data_loader, sequential_batches
from pipeline_lib.loading.products import Products
from pipeline_lib.metrics.classification import ClassScores, Labels, class_figures
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


@dataclass
class _Rows:
    """A row of numbers for each of `count` products, filled batch by batch; `values` is None before the first.

    One array, and not one for each batch: small blocks that stay, between large ones that go, keep glibc from using the
    memory of the large ones again (40,000 products and 5,000 classes: 740 MB).
    """

    count: int
    values: Array | None = None

    def put(self, start: int, rows: Tensor | None) -> None:
        """Copy the rows of a batch, whose first product is number `start`."""
        if rows is None:
            return
        if self.values is None:
            self.values = np.empty((self.count, rows.shape[1]), np.float32)
        self.values[start : start + len(rows)] = rows.float().cpu().numpy()


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
        images, texts = _Rows(len(self.products)), _Rows(len(self.products))
        classes: list[ClassScores] = []
        losses = torch.empty(len(keys), device=task.device)
        start, sizes = 0, []
        with torch.inference_mode():
            for number, batch in enumerate(data_loader(self.batches, keys, self.workers, task.device)):
                outputs, named = task.compute(batch)
                losses[number] = named["total"]
                images.put(start, outputs.image_embedding)
                texts.put(start, outputs.text_embedding)
                classes += self._class_scores(outputs.class_logits, start)
                sizes.append(len(batch.product))
                start += sizes[-1]
            value = np.average(losses.cpu().numpy(), weights=sizes)
        ranking = self._ranking(images.values, texts.values, task.device)
        return {"val_loss": float(value), **ranking, **_class_metrics(classes)}

    def _class_scores(self, logits: Tensor | None, start: int) -> list[ClassScores]:
        """Return what the metrics need of a batch's logits: of all products they would be (products, classes)."""
        if logits is None:
            return []
        truth = self.products.label[start : start + len(logits)]
        labelled = truth >= 0
        if not labelled.any():
            return []
        return [ClassScores.of(truth[labelled], logits.float().cpu().numpy()[labelled])]

    def _ranking(self, gallery: Array | None, texts: Array | None, device: str) -> dict[str, float]:
        """Return the retrieval metrics of both directions, ranked on `device`; empty without retrieval or queries."""
        if gallery is None or texts is None or not self.queries.texts:
            return {}
        queries = self._query_embeddings(texts)
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


def _class_metrics(parts: list[ClassScores]) -> dict[str, float]:
    """Return the classification metrics; empty without a classifier or labels."""
    if not parts:
        return {}
    scores = ClassScores.concatenate(parts)
    metrics = class_figures(scores)
    chosen = {name: metrics[name] for name in ("top1", "top3", "macro_f1")}
    return {**chosen, "balanced_accuracy": balanced_accuracy(scores.truth, scores.predicted)}


def balanced_accuracy(truth: Labels, predicted: Labels) -> float:
    """Return the mean recall of the classes that occur in `truth`."""
    right, support = np.bincount(truth[truth == predicted], minlength=truth.max() + 1), np.bincount(truth)
    return float((right[support > 0] / support[support > 0]).mean())

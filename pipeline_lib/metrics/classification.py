"""Classification metrics: top-1, top-3, macro-F1, balanced accuracy, the figures of each class, confusion counts.

Macro-F1 is the mean over the classes that occur in the truth. Predicting any other class is an error that already
lowers the recall of the true class. Balanced accuracy is the mean recall over the same classes. Ties between classes
are broken by class order, as `argmax` does, so top-1 is the accuracy of the predicted labels in the submission.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.metrics.weighted import Counts, Statistic, point, weighted_means

CLASS_FIGURES = ("top1", "top3", "macro_f1", "balanced_accuracy")

Probabilities = NDArray[np.floating]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class ClassScores:
    """What the figures need of each product's class probabilities, so that no (products, classes) matrix is needed.

    All are (products,): the true class, the predicted one, its probability, and the rank, from 0, of the true class.
    """

    truth: Labels
    predicted: Labels
    confidence: NDArray[np.float64]
    ranks: Labels
    num_classes: int

    @classmethod
    def of(cls, truth: Labels, probabilities: Probabilities) -> "ClassScores":
        """Return the scores of probabilities (products, classes) with the true classes `truth` (products,)."""
        confidence = probabilities.max(axis=1).astype(np.float64)
        ranks = true_class_ranks(truth, probabilities)
        return cls(truth, probabilities.argmax(axis=1), confidence, ranks, probabilities.shape[1])

    @classmethod
    def concatenate(cls, parts: Sequence["ClassScores"]) -> "ClassScores":
        """Return the scores of all products of one or more parts, in their order."""
        names = ("truth", "predicted", "confidence", "ranks")
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**columns, num_classes=parts[0].num_classes)


def class_numbers(labels: Iterable[str | None], classes: Sequence[str]) -> Labels:
    """Return the number of each label among the classes, -1 for any other, (labels,).

    >>> class_numbers(["hat", None, "cup"], ["cup", "hat"]).tolist()
    [1, -1, 0]
    """
    number_of = {label: number for number, label in enumerate(classes)}
    return np.array([-1 if label is None else number_of.get(label, -1) for label in labels], np.int64)


def class_statistic(scores: ClassScores) -> Statistic:
    """Return the statistic of CLASS_FIGURES."""
    hits = np.stack([scores.ranks < 1, scores.ranks < 3], axis=1).astype(np.float64)
    correct = hits[:, 0]
    sum_by_truth = _class_sums(scores.truth, scores.num_classes)
    sum_by_prediction = _class_sums(scores.predicted, scores.num_classes)

    def figures(counts: Counts) -> NDArray[np.float64]:
        support = sum_by_truth(counts)
        true_positives = sum_by_truth(counts * correct)
        f1 = 2 * true_positives / np.maximum(support + sum_by_prediction(counts), 1)
        occurs = support > 0
        num_occurring = occurs.sum(axis=1, keepdims=True)
        macro, balanced = (
            share.sum(axis=1, where=occurs, keepdims=True) / num_occurring
            for share in (f1, true_positives / np.maximum(support, 1))
        )
        return np.concatenate([weighted_means(hits, counts), macro, balanced], axis=1)

    return figures


def class_figures(scores: ClassScores) -> dict[str, float]:
    """Return CLASS_FIGURES by name."""
    return dict(zip(CLASS_FIGURES, point(class_statistic(scores), len(scores.truth)).tolist(), strict=True))


def confusion_counts(truth: Labels, predicted: Labels, num_classes: int) -> NDArray[np.int64]:
    """Return (pairs, 3): the true and the predicted class of each pair that occurs, in their order, and its products.

    A matrix (classes, classes) of 20,000 classes would be 3.2 GB.

    >>> confusion_counts(np.array([0, 2, 2]), np.array([0, 1, 1]), 3).tolist()
    [[0, 0, 1], [2, 1, 2]]
    """
    pairs, counts = np.unique(truth * num_classes + predicted, return_counts=True)
    return np.stack([pairs // num_classes, pairs % num_classes, counts], axis=1)


def class_table(truth: Labels, predicted: Labels, classes: Sequence[str]) -> pl.DataFrame:
    """Return label, precision, recall, f1 and support of every class that occurs in the truth or the predictions.

    The precision of a class that is never predicted is 0, and so is the recall of one that never occurs.
    """
    true_positives, support, num_predicted = (
        np.bincount(labels, minlength=len(classes)) for labels in (truth[truth == predicted], truth, predicted)
    )
    table = pl.DataFrame(
        {
            "label": list(classes),
            "precision": true_positives / np.maximum(num_predicted, 1),
            "recall": true_positives / np.maximum(support, 1),
            "f1": 2 * true_positives / np.maximum(support + num_predicted, 1),
            "support": support,
        },
        schema_overrides={"label": pl.String},
    )
    return table.filter(pl.Series(support + num_predicted > 0))


def true_class_ranks(truth: Labels, probabilities: Probabilities) -> NDArray[np.int64]:
    """Return the rank, from 0, of the true class of each product, (products,)."""
    own = np.take_along_axis(probabilities, truth[:, None], axis=1)
    earlier = np.arange(probabilities.shape[1])[None, :] < truth[:, None]
    return np.asarray((probabilities > own).sum(axis=1) + ((probabilities == own) & earlier).sum(axis=1))


def _class_sums(labels: Labels, num_classes: int) -> Callable[[Counts], Counts]:
    """Return a function that sums counts (resamples, products) by class, without a one-hot matrix."""
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)

    def sums(counts: Counts) -> Counts:
        by_class = np.zeros((len(counts), num_classes))
        by_class[:, present] = np.add.reduceat(counts[:, order], starts, axis=1)
        return by_class

    return sums

"""Validation metrics in both directions, from given embeddings instead of a model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from traced import peak_bytes

from pipeline_lib.batch import Outputs
from pipeline_lib.loading.products import Products
from pipeline_lib.metrics.classification import ClassScores, class_figures
from pipeline_lib.metrics.relevance import positions_from_lists
from pipeline_lib.training.history import IMAGE, TEXT
from pipeline_lib.training.validation import HeldOutQueries, Validator, balanced_accuracy

NUM, CAPTIONS = 12, 3


class _Rows(Dataset):
    def __getitem__(self, key):
        return SimpleNamespace(product=torch.from_numpy(key[1]))


class _Task:
    """A stub of a task whose embeddings of products and of their own texts are given."""

    model, device = SimpleNamespace(eval=lambda: None), "cpu"

    def __init__(self, images, texts):
        self.images, self.texts = torch.from_numpy(images), torch.from_numpy(texts)

    def compute(self, batch):
        outputs = Outputs(image_embedding=self.images[batch.product], text_embedding=self.texts[batch.product])
        return outputs, {"total": torch.tensor(1.0)}


def test_both_directions_equal_a_slow_loop_and_products_without_a_query_are_no_queries():
    rng = np.random.default_rng(0)
    images = rng.standard_normal((NUM, 6)).astype(np.float32)
    texts = [f"{image} {caption}" for image in range(NUM - 1) for caption in range(CAPTIONS)]  # the last has none
    owner = np.repeat(np.arange(NUM - 1), CAPTIONS)
    embedded = images[owner] + rng.standard_normal((len(texts), 6)).astype(np.float32)
    by_text = dict(zip(texts, embedded, strict=True))
    own = [f"{image} 0" for image in range(NUM - 1)] + [""]
    zeros = np.zeros(NUM, np.int64)
    products = Products([f"p{i}" for i in range(NUM)], own, np.arange(NUM), zeros, zeros - 1, zeros, zeros + 1)
    product_texts = np.stack([by_text.get(text, images[0]) for text in own])
    queries = HeldOutQueries(texts, positions_from_lists([[image] for image in owner]))
    new = []

    def embed(queries):
        new.extend(queries)
        return np.stack([by_text[text] for text in queries])

    validator = Validator(_Rows(), products, queries, 5, 0, embed)
    metrics = validator.measure(_Task(images, product_texts))
    assert sorted(new) == sorted(set(texts) - set(own))  # a product's own text is not embedded again
    scores = embedded @ images.T
    num_better = {
        IMAGE: [int((row > row[image]).sum()) for row, image in zip(scores, owner, strict=True)],
        TEXT: [
            min(int((scores[:, image] > scores[query, image]).sum()) for query in np.flatnonzero(owner == image))
            for image in range(NUM - 1)
        ],
    }
    for columns, counts in num_better.items():
        recalls = [np.mean([count < k for count in counts]) for k in (1, 5, 10)]
        assert [metrics[name] for name in columns] == pytest.approx([*recalls, np.mean(recalls)])
    assert metrics[IMAGE[0]] != metrics[TEXT[0]]


def test_balanced_accuracy_is_the_mean_recall_and_needs_no_matrix_of_classes():
    truth, predicted = np.array([0, 0, 2999, 5]), np.array([0, 7, 2999, 7])  # recalls: 1/2, 1 and 0
    assert balanced_accuracy(truth, predicted) == 0.5
    assert peak_bytes(lambda: balanced_accuracy(truth, predicted)) < 1e6


class _Classifier(_Task):
    """A stub whose logits are drawn for each batch again, so that no memory holds those of all products."""

    def __init__(self, classes):
        self.classes = classes

    def compute(self, batch):
        drawn = [np.random.default_rng(row).integers(0, 4, self.classes) for row in batch.product.tolist()]
        logits = torch.from_numpy(np.stack(drawn)).to(torch.bfloat16)  # many ties
        return Outputs(class_logits=logits), {"total": torch.tensor(1.0)}


def class_validator(labels, batch_size):
    count = len(labels)
    zeros = np.zeros(count, np.int64)
    products = Products([f"p{i}" for i in range(count)], [""], zeros, zeros, labels, zeros, zeros + 1)
    queries = HeldOutQueries([], positions_from_lists([]))
    return Validator(_Rows(), products, queries, batch_size, 0, lambda texts: np.empty((0, 2), np.float32))


@pytest.mark.parametrize("unlabelled", ["none", "some", "a complete batch", "all"])
def test_class_figures_by_batches_are_those_of_all_logits_to_the_digit(unlabelled):
    count, num_classes = 103, 7
    labels = np.random.default_rng(1).integers(0, num_classes - 1, count)  # a class that never occurs
    if unlabelled != "none":
        labels[{"some": slice(None, None, 3), "a complete batch": slice(10, 20), "all": slice(None)}[unlabelled]] = -1
    task = _Classifier(num_classes)
    found = class_validator(labels, 10).measure(task)
    if unlabelled == "all":
        assert found == {"val_loss": 1.0}
        return
    outputs, _ = task.compute(SimpleNamespace(product=torch.arange(count)))
    truth, logits = labels[labels >= 0], outputs.class_logits.float().numpy()[labels >= 0]
    expected = class_figures(ClassScores.of(truth, logits))
    right = np.bincount(truth[truth == logits.argmax(axis=1)], minlength=num_classes)
    support = np.bincount(truth, minlength=num_classes)
    balanced = float((right[support > 0] / support[support > 0]).mean())
    assert found == {"val_loss": 1.0, **expected, "balanced_accuracy": balanced}


def test_validation_keeps_no_logits_of_earlier_batches():
    count, num_classes, batch = 2_000, 2_000, 50
    validator = class_validator(np.random.default_rng(0).integers(0, num_classes, count), batch)
    of_all, of_batch = 4 * count * num_classes, 4 * batch * num_classes  # 16 MB, .4 MB
    # Beside one batch: its float64 draws, the comparisons of ranks, and the figures.
    assert peak_bytes(lambda: validator.measure(_Classifier(num_classes))) < 15 * of_batch < of_all / 2

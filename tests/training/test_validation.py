"""Validation metrics in both directions, from given embeddings instead of a model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from traced import peak_bytes

from pipeline_lib.batch import Outputs
from pipeline_lib.loading.products import Products
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
    truth, logits = np.array([0, 0, 2999, 5]), np.zeros((4, 3000), np.float32)
    logits[[0, 1, 2, 3], [0, 7, 2999, 7]] = 1  # recalls: 1/2, 1 and 0
    assert balanced_accuracy(truth, logits) == 0.5
    assert peak_bytes(lambda: balanced_accuracy(truth, logits)) < 1e6

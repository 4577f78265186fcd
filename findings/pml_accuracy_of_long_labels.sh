#!/usr/bin/env bash
# pytorch-metric-learning 2.9.0: with EAN codes as labels AccuracyCalculator gives random vectors a Precision@1 and
#             MAP@R of 1.000, because it rounds labels to float32.
#
# Expected: labels are compared as the whole numbers that they are; its losses, miners and samplers do so.
# Happens:  get_accuracy turns labels into float32 as it does with vectors. Above 16,777,216 neighbours are one number:
#           four each from 33,554,432 to 67,108,864, 262,144 each from 2.2 to 4.4 million million. 1,000 products of
#           one maker, with EAN-13 codes, are one label, and so are four products in a row with article numbers of
#           8 digits, which are often the colours of one model. Below, Precision@1 is .373; it is .603 with article
#           numbers of 8 digits, .692 with ids of 10 digits, .843 with ids of 13 digits and 1.000 with EAN codes.
#           Nothing is printed, and a colour that is taken for another is right. No issue on it was found.
# Do:       number the labels of query and reference together: numpy.unique(labels, return_inverse=True).
# Versions: pytorch-metric-learning 2.9.0, torch 2.13.0 (up to 6 GB of packages), faiss-cpu 1.15.1, numpy 2.4.6,
#           Python 3.11.7
# Date:     2026-11-30
# Matters for: figures of other programs that are compared with ours; our ids are strings, and right answers go by row
#           numbers (pipeline_lib/metrics).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pytorch-metric-learning==2.9.0 \
  torch==2.13.0 faiss-cpu==1.15.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import faiss
import numpy as np
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

names = ("pytorch-metric-learning", "torch", "faiss-cpu", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
torch.set_num_threads(1)
faiss.omp_set_num_threads(1)
PRODUCTS, PHOTOS, COLOURS, WIDTH = 1_000, 4, 4, 64


def unit(vectors):
    """Return vectors of length 1 in float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def ean(items):
    """Return EAN-13 codes of a maker whose prefix has seven digits, with their check digits."""
    bodies = [f"4006381{item:05d}" for item in items]
    weighted = [sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(body)) for body in bodies]
    return np.array([int(body) * 10 - total % -10 for body, total in zip(bodies, weighted)])


draws = np.random.default_rng(0)
models = np.repeat(draws.normal(size=(PRODUCTS // COLOURS, WIDTH)), COLOURS, axis=0)
products = models + 0.35 * draws.normal(size=models.shape)
vectors = unit(np.repeat(products, PHOTOS, axis=0) + 1.2 * draws.normal(size=(PRODUCTS * PHOTOS, WIDTH)))
noise = unit(draws.normal(size=vectors.shape))
numbers = np.arange(PRODUCTS)
LABELS = {
    "0 to 999": numbers,
    "article numbers of 8 digits": 40_000_000 + numbers,
    "ids of 10 digits": 7_000_000_000 + 131 * numbers,
    "ids of 13 digits": 7_000_000_000_000 + 32_768 * numbers,
    "EAN-13": ean(7 * numbers),
    "EAN-13 by numpy.unique": np.unique(ean(7 * numbers), return_inverse=True)[1],
}
calculator = AccuracyCalculator(include=("precision_at_1", "mean_average_precision_at_r"), k="max_bin_count")
rows = np.repeat(numbers, PHOTOS)
cosines = vectors @ vectors.T
np.fill_diagonal(cosines, -2)
right = round(float((rows[cosines.argmax(1)] == rows).mean()), 3)
print(f"by hand: Precision@1 {right:.3f}")
result = {}
for name, labels in LABELS.items():
    figures = [calculator.get_accuracy(each, labels[rows]) for each in (vectors, noise)]
    result[name] = [(round(one["precision_at_1"], 3), round(one["mean_average_precision_at_r"], 3)) for one in figures]
    print(f"{name}: Precision@1 {result[name][0][0]:.3f}, MAP@R {result[name][0][1]:.3f};", end=" ")
    print(f"of random vectors {result[name][1][0]:.3f} and {result[name][1][1]:.3f}")
fine = ("0 to 999", "EAN-13 by numpy.unique")
if any(abs(result[name][0][0] - right) > 0.002 or result[name][1][0] > 0.01 for name in fine):
    sys.exit("the behaviour has changed")
if result["EAN-13"] != [(1.0, 1.0), (1.0, 1.0)]:
    sys.exit("the behaviour has changed")
if any(figures[0][0] < right + 0.1 for name, figures in result.items() if name not in fine):
    sys.exit("the behaviour has changed")
PYTHON

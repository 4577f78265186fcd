#!/usr/bin/env bash
# scikit-learn 1.9.1: the weighted kappa of grades that are words takes their alphabetical order for the scale: two
#             annotators with a quadratic kappa of .77 have .16, and a judge that takes irrelevant products for exact
#             ones has .82 in place of .34.
#
# Expected: cohen_kappa_score(weights="quadratic") of "exact", "substitute", "complement" and "irrelevant" is that of 3,
#           2, 1 and 0, or raises; of numbers, a disagreement of 2 grades weighs four times as much as one of 1.
# Happens:  a weight is the distance of two places in the sorted list of the labels that occur: complement, exact,
#           irrelevant, substitute, and C, E, I, S likewise. So exact and irrelevant are neighbours, exact and
#           substitute are not. Unweighted kappa is right (.38), so a lower weighted one looks like grave disagreement,
#           and of two judges that have .53 and .52 the wrong one wins by .82 to .26. Numbers have a smaller fault: the
#           places count, so where nobody gives grade 1, 2 is next to 0 (.66 in place of .81). labels= in the order of
#           the scale is right, also for a grade that nobody gives; the docstring has it for a subset of the labels and
#           says nothing of their order. krippendorff raises for words without a value_domain.
# Do:       labels=[...] with all grades in their order, or numbers and labels=range(4).
# Versions: scikit-learn 1.9.1, krippendorff 0.9.0, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: relevance grades of annotators and of models that judge, before they come here; we read judgments as they
#           are and compute no kappa (pipeline_lib/evaluation/judged.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 krippendorff==0.9.0 \
  numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import krippendorff
import numpy as np
from sklearn.metrics import cohen_kappa_score

names = ("scikit-learn", "krippendorff", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
PAIRS, ERRORS = 5_000, 0.35
GRADES = np.array(["irrelevant", "complement", "substitute", "exact"])
draws = np.random.default_rng(0)
right = draws.choice(4, PAIRS, p=(0.2, 0.15, 0.25, 0.4))


def moved(scale):
    """Return grades of which the share ERRORS is a neighbour of the right one in `scale`, an order of the grades."""
    place = np.argsort(scale)[right]
    step = np.where(place == 0, 1, np.where(place == 3, -1, draws.choice([-1, 1], PAIRS)))
    return np.asarray(scale)[place + np.where(draws.random(PAIRS) < ERRORS, step, 0)]


def kappa(first, second, weights="quadratic", **more):
    return float(cohen_kappa_score(first, second, weights=weights, **more))


first, second = moved([0, 1, 2, 3]), moved([0, 1, 2, 3])
agreement = {}
for weights in (None, "linear", "quadratic"):
    words = kappa(GRADES[first], GRADES[second], weights)
    letters = kappa(*(np.array([*"ICSE"])[grades] for grades in (first, second)), weights)
    numbers = kappa(first, second, weights)
    ordered = kappa(GRADES[first], GRADES[second], weights, labels=GRADES)
    agreement[weights] = words, letters, numbers, ordered
    print(f"two annotators, weights={weights}: words {words:.2f}, letters {letters:.2f},", end=" ")
    print(f"numbers {numbers:.2f}, words with labels= in order {ordered:.2f}")
judges = {"by one grade": moved([0, 1, 2, 3]), "takes irrelevant for exact": moved(np.argsort(GRADES))}
chosen = {}
for name, grades in judges.items():
    chosen[name] = kappa(GRADES[right], GRADES[grades]), kappa(right, grades), kappa(right, grades, None)
    words, numbers, plain = chosen[name]
    exact = float((grades[right == 0] == 3).mean())
    print(f"judge that errs {name}: quadratic kappa of words {words:.2f}, of numbers {numbers:.2f},", end=" ")
    print(f"unweighted {plain:.2f}; {exact:.2f} of the irrelevant products are exact")
used = (first != 1) & (second != 1)
places = kappa(first[used], second[used])
values = kappa(first[used], second[used], labels=[0, 1, 2, 3])
gains = np.array([0, 1, 10, 100])
spread = kappa(gains[first], gains[second])
print(f"pairs where nobody gives grade 1: {places:.2f}, with labels=[0, 1, 2, 3] {values:.2f}")
print(f"grades 0, 1, 10 and 100: {spread:.2f}, as 0, 1, 2 and 3")
try:
    krippendorff.alpha(reliability_data=GRADES[[first, second]], level_of_measurement="ordinal")
    refused = False
except ValueError as error:
    refused = True
    print(f"krippendorff: ValueError: {error}")
words, letters, numbers, ordered = agreement["quadratic"]
if words > numbers - 0.3 or letters != words or ordered != numbers or len({*agreement[None]}) > 1:
    sys.exit("the behaviour has changed")
(words, numbers, _), (wrong_words, wrong_numbers, _) = chosen.values()
if wrong_words < words + 0.2 or wrong_numbers > numbers - 0.2:
    sys.exit("the behaviour has changed")
if abs(places - values) < 0.03 or spread != agreement["quadratic"][2] or not refused:
    sys.exit("the behaviour has changed")
PYTHON

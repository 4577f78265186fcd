#!/usr/bin/env bash
# litdata 0.2.76: `optimize` reads the bytes of all vectors by the type of the first sample: 95 % of the label vectors
#             [0, 1, 0] are read as [0, 5e-324, 0] where the first one is [0.7, 0.3, 0], accuracy .48 in place of .78;
#             where the first one is whole, 0.7 is read as 4604480259023595110.
#
# Expected: a sample comes back as it was given, or is refused. A float after an int raises, and arrays with two
#           dimensions, which carry their type, come back right.
# Happens:  arrays and tensors with one dimension are stored as bare bytes, and one type for the whole dataset is
#           taken from the first sample of each worker; the others are not compared with it. Whole numbers from JSON
#           make int64, decimals float64, of the same size, so shapes are right. Below, 5 % of the products have
#           shares of two categories, because the annotators disagree. If such a product is the first, all others have
#           labels of zero, and a cross-entropy with shares as targets leaves them out: it falls, and only the 5 % are
#           trained on. If another one is first, the shares are huge. The same holds for torch.tensor(list), where
#           float32 and int64 also change the length. If the first samples of two workers differ, it does raise, so
#           whether one notices depends on the number of workers. The log has "no_header_numpy:10" and no more.
# Do:       np.asarray(values, np.float32), always with the type.
# Versions: litdata 0.2.76, torch 2.13.0, numpy 2.4.6, Python 3.11.7
# Date:     2026-12-01
# Matters for: catalogues stored by litdata outside; ours are shards of encoded photos and Parquet with a schema
#           (pipeline_lib/shards).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check litdata==0.2.76 torch==2.13.0 numpy==2.4.6
cd "$folder"
mkdir scratch
cat > labels.py <<'PYTHON'
"""Store products with the shares of their categories by litdata, read them, and train a classifier."""

import json
import sys
from importlib.metadata import version

import litdata
import numpy as np

PRODUCTS, TESTS, CATEGORIES, WIDTH, DISPUTED, STEPS = 2_000, 2_000, 10, 64, 0.05, 300
draws = np.random.default_rng(0)
centres = draws.normal(size=(CATEGORIES, WIDTH))
truth = draws.integers(0, CATEGORIES, PRODUCTS + TESTS)
photos = centres[truth] + 3 * draws.normal(size=(PRODUCTS + TESTS, WIDTH))
disputed = draws.random(PRODUCTS) < DISPUTED


def line_of(row):
    """Return a line of JSON as annotators leave it: [0, 1, 0, ...], or [0, 0.7, 0.3, ...] where they disagree."""
    shares = [0] * CATEGORIES
    if disputed[row]:
        shares[truth[row]], shares[(truth[row] + 1) % CATEGORIES] = 0.7, 0.3
    else:
        shares[truth[row]] = 1
    return json.dumps({"row": row, "shares": shares})


def stored(line):
    product = json.loads(line)
    return {"row": product["row"], "shares": np.array(product["shares"])}


def stored_as_floats(line):
    product = json.loads(line)
    return {"row": product["row"], "shares": np.array(product["shares"], np.float64)}


def measured(name, function, first, workers):
    """Write and read the products, one that is disputed first if `first`; return accuracy and wrong labels."""
    start = int(np.argmax(disputed == first))
    rows = [start, *(row for row in range(PRODUCTS) if row != start)]
    target = f"{name}-{workers}".replace(" ", "-")
    lines = [line_of(row) for row in rows]
    litdata.optimize(function, lines, target, chunk_size=250, num_workers=workers, verbose=False)
    dataset = litdata.StreamingDataset(target)
    samples = [dataset[place] for place in range(len(dataset))]
    read = np.array([sample["row"] for sample in samples])
    shares = np.array([sample["shares"] for sample in samples], float)
    wrong = [not np.array_equal(share, json.loads(line_of(int(row)))["shares"]) for row, share in zip(read, shares)]
    weights = np.zeros((WIDTH, CATEGORIES))
    for _ in range(STEPS):  # gradient of the cross-entropy with shares as targets
        logits = photos[read] @ weights
        found = np.exp(logits - logits.max(1, keepdims=True))
        found /= found.sum(1, keepdims=True)
        weights -= 0.02 * photos[read].T @ (found * shares.sum(1, keepdims=True) - shares) / len(read)
    accuracy = float(np.mean((photos[PRODUCTS:] @ weights).argmax(1) == truth[PRODUCTS:]))
    example = shares[int(np.argmax(wrong))][:4].tolist()
    with open("figures.txt", "a") as file:
        file.write(f"{name}, {workers} workers: {100 * np.mean(wrong):.1f} % of the labels are others, ")
        file.write(f"such as {example}; accuracy {accuracy:.3f}\n")
    return accuracy, float(np.mean(wrong))


if __name__ == "__main__":
    names = ("litdata", "torch", "numpy")
    with open("figures.txt", "w") as file:
        file.write(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}\n")
    disputed_first = measured("a disputed product first", stored, True, 1)
    others_first = measured("another product first", stored, False, 1)
    two_workers = measured("another product first", stored, False, 2)
    right = measured("always float64", stored_as_floats, False, 1)
    share = float(disputed.mean())
    expected = 1 - share, share, share, 0.0
    wrong = [found[1] for found in (disputed_first, others_first, two_workers, right)]
    if not np.allclose(wrong, expected) or max(disputed_first[0], others_first[0]) > right[0] - 0.2:
        sys.exit("the behaviour has changed")
PYTHON
export HOME=$folder TMPDIR=$folder/scratch
venv/bin/python labels.py > log.txt 2>&1 || { tail -n 30 log.txt; cat figures.txt; exit 1; }
cat figures.txt

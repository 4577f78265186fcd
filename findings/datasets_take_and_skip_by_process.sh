#!/usr/bin/env bash
# datasets 5.2.0: take(2000) for validation and skip(2000) for training have 1,500 products in common as soon as the
#             training is read by 4 workers or 4 processes.
#
# Expected: take(n) is "only the first n elements" of a stream and skip(n) the rest, so they are a split, as in the
#           documentation on streaming. The number of workers changes the speed and the order.
# Happens:  workers of a DataLoader, and nodes by split_dataset_by_node, have files of their own, and n is divided among
#           them: each of 4 skips the first 500 products of its own files. Validation that is read in one process is the
#           first 2,000 of the first file, of which 1,500 are trained on (8 workers: 1,750), and 1,500 of other files
#           are in neither. Nothing is printed and the counts are right: three of four products of validation were
#           trained on, and one looks for the gain in the model. Read by 4 and 4, or by a number of nodes that does not
#           divide the files, they are a split; so is a single file. Validation of 4 and of 1 have 500 products in
#           common, so its figures are those of two sets. shuffle() before it, as the documentation recommends, does not
#           help.
# Do:       choose products by a hash of their id with filter(), or give validation files of its own.
# Versions: datasets 5.2.0, pyarrow 26.0.1, Python 3.11.7; workers tried with torch 2.15.0
# Date:     2026-11-30
# Matters for: streaming our tables or tars by datasets; ours have a fold for each product
#           (pipeline_lib/splitting/folds.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1
export HF_HOME="$folder/home" HF_HUB_OFFLINE=1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import load_dataset
from datasets.distributed import split_dataset_by_node

print(f"datasets {version('datasets')}, pyarrow {version('pyarrow')}, Python {sys.version.split()[0]}")
FILES, ROWS, HELD = 16, 2_500, 2_000
files = [str(Path(sys.argv[1]) / f"{number:02}.parquet") for number in range(FILES)]
for number, path in enumerate(files):
    first = number * ROWS
    pq.write_table(pa.table({"product": range(first, first + ROWS)}), path)
products = load_dataset("parquet", data_files=files, split="train", streaming=True)


def read(dataset, processes=1):
    """Return the products that the processes read together."""
    parts = [split_dataset_by_node(dataset, rank, processes) for rank in range(processes)]
    return [row["product"] for part in parts for row in part]


def leak(name, validation, training):
    """Print and return how many products of validation are trained on, and how many are in neither."""
    both, neither = len({*validation} & {*training}), FILES * ROWS - len({*validation} | {*training})
    print(f"{name}: {len(validation):,} in validation, {both:,} of them trained on, {neither:,} products in neither")
    return both, neither


held, rest = products.take(HELD), products.skip(HELD)
one = read(held)
seen = {count: leak(f"training on {count}", one, read(rest, count)) for count in (1, 2, 3, 4, 8)}
equal = leak("validation and training on 4", read(held, 4), read(rest, 4))
mixed = products.shuffle(seed=0, buffer_size=1_000)
shuffled = leak("shuffled first, training on 4", read(mixed.take(HELD)), read(mixed.skip(HELD), 4))
common = len({*one} & {*read(held, 4)})
print(f"validation on 4 and on 1 have {common:,} products in common")
chosen = [products.filter(lambda row, side=side: (row["product"] % 20 == 0) == side) for side in (True, False)]
filtered = leak("chosen by filter, training on 4", read(chosen[0]), read(chosen[1], 4))
lost = {count: HELD - HELD // count for count in (2, 4, 8)}
right = seen[1] == seen[3] == equal == filtered == (0, 0)
if not right or common != HELD // 4 or any(seen[count] != (lost[count], lost[count]) for count in lost):
    sys.exit("the behaviour has changed")
PYTHON

#!/usr/bin/env bash
# safetensors 0.8.0: safetensors.numpy.save_file writes other numbers for a slice of columns, a transpose or a polars frame.
#
# Expected: an array that is not contiguous is copied, as numpy.save does, or refused, as safetensors.torch.save_file
#           does ("You are trying to save a non contiguous tensor").
# Happens:  the memory behind the array is written from its first byte on, under the array's shape. `vectors[:, :256]`
#           (Matryoshka truncation) of 512 gives first and second halves of rows in turn; `vectors[::2]` gives the
#           first half of the rows; a transpose, and what polars' `to_numpy` or numpy.asfortranarray returns, is
#           scrambled. Shape and dtype are right and nothing is raised. Below, 1 of 1,000 rows of truncated vectors is
#           what it should be. The docstring has one sentence on it: "Tensors need to be contiguous and dense".
# Do:       numpy.ascontiguousarray(array) before saving.
# Versions: safetensors 0.8.0, numpy 2.4.6, polars 2.1.0, Python 3.11.7
# Date:     2026-11-30
# Matters for: vectors that are brought as safetensors; models here are saved by safetensors.torch
#           (pipeline_lib/models/saved.py), stores as .npy.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6 polars==2.1.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

names = ("safetensors", "numpy", "polars")
print(", ".join(f"{name} {version(name)}" for name in names), f"Python {sys.version.split()[0]}")
vectors = np.random.default_rng(0).standard_normal((1_000, 512), dtype=np.float32)
frame = pl.DataFrame({f"f{number}": vectors[:, number] for number in range(512)})
arrays = {
    "as they are": vectors,
    "vectors[:, :256]": vectors[:, :256],
    "vectors[::2]": vectors[::2],
    "vectors.T": vectors.T,
    "polars frame.to_numpy()": frame.to_numpy(),
    "ascontiguousarray(vectors[:, :256])": np.ascontiguousarray(vectors[:, :256]),
}
right = {}
for name, array in arrays.items():
    save_file({"vectors": array}, f"{sys.argv[1]}/vectors.safetensors")
    read = load_file(f"{sys.argv[1]}/vectors.safetensors")["vectors"]
    right[name] = int((read == array).all(axis=1).sum())
    print(f"{name}: {read.shape} {read.dtype}, {right[name]} of {len(array)} rows are right")
wrong = ("vectors[:, :256]", "vectors[::2]", "vectors.T", "polars frame.to_numpy()")
if any((right[name] > 1) == (name in wrong) for name in arrays):
    sys.exit("the behaviour has changed")
PYTHON

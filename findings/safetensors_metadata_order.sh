#!/usr/bin/env bash
# safetensors 0.8.0: a file with two or more entries of metadata has other bytes in every process.
#
# Expected: the same tensors and the same metadata give the same file, as tensors are sorted and nothing has a date.
# Happens:  metadata is a hash map with a random seed for each map, written in its order. With five entries (epoch,
#           loss, base) ten processes write about ten different files of one model. So whatever goes by a file's hash
#           takes it for a new model: DVC reruns evaluation, index and all that follows, for hours, stores the weights
#           again for each run, and says "changed" for a training that was reproduced to the bit. With one entry
#           ({"format": "pt"}, what transformers and timm write) or none it never happens, so nobody suspects the
#           format.
# Do:       one entry that holds a JSON text with sorted keys, or a file of its own beside the weights.
# Versions: safetensors 0.8.0, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: pipeline_lib/models/saved.py, which writes no metadata: the card is a JSON file beside the weights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
cat > "$folder/save.py" <<'PYTHON'
import hashlib
import sys

import numpy as np
from safetensors.numpy import save

entries = {"format": "pt", "epoch": "12", "loss": "0.31", "base": "vit_small", "seed": "0"}
tensors = {f"layer.{number}": np.full((4, 4), number, np.float32) for number in range(50)}
data = save(tensors, dict(list(entries.items())[: int(sys.argv[1])]))
print(hashlib.sha256(data).hexdigest())
PYTHON
python=$folder/venv/bin/python
"$python" -c "
import sys
from importlib.metadata import version
print('safetensors', version('safetensors'), 'numpy', version('numpy'), 'Python', sys.version.split()[0])"
for entries in 0 1 2 5; do
  for _ in 1 2 3 4 5 6 7 8 9 10; do "$python" "$folder/save.py" $entries; done | sort -u > "$folder/$entries.txt"
  echo "$entries entries of metadata: $(wc -l < "$folder/$entries.txt") different files of 10"
done
[ "$(cat "$folder/0.txt" "$folder/1.txt" | wc -l)" = 2 ] && [ "$(wc -l < "$folder/5.txt")" -gt 4 ] \
  || { echo "the behaviour has changed"; exit 1; }

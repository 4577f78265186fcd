#!/usr/bin/env bash
# torch 2.15.0 on a CPU with glibc: prediction gets slower with larger batches, because freed memory is fetched again.
#
# Expected: a photo costs as much in a batch of 64 as in one of 4, or less. That is so for the matrix products.
# Happens:  MobileNetV2 at 224 px on two cores of an EPYC: 89 photos/s in batches of 4, 45 in batches of 64. With two
#           variables of malloc it is 134 and 137: three times as many. torch has no allocator of its own for a CPU.
#           glibc gives each freed block above 32 MB back to the kernel at once, and the activations of 64 photos are
#           such blocks; the next layer takes its pages again, one fault and 4 KB of zeros after another. Below, that is
#           10,000 faults a photo.
# Do:       set MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ before Python starts, as the second run does, or call
#           mallopt(3) at its start. The vectors are the same bits.
# Versions: torch 2.15.0, torchvision 0.29.2 (6 GB of packages), glibc 2.36, Python 3.11.7
# Date:     2026-11-30
# Matters for: pipeline_lib/execution/allocator.py, which does it for every stage.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.15.0 torchvision==0.29.2 numpy==2.4.6
cat > "$folder/predict.py" <<'PYTHON'
import hashlib
import json
import platform
import resource
import sys
import time

import torch
import torchvision

torch.manual_seed(0)
torch.set_num_threads(2)
model = torchvision.models.mobilenet_v2().eval().to(memory_format=torch.channels_last)
photos = torch.randn(64, 3, 224, 224).to(memory_format=torch.channels_last)
result = {"versions": [torch.__version__, torchvision.__version__, "-".join(platform.libc_ver()), platform.python_version()]}
for size in (4, 64):
    with torch.inference_mode():
        model(photos[:size])
        faults, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, []
        for _ in range(3):
            start = time.perf_counter()
            vectors = torch.cat([model(part) for part in photos.split(size)])
            seconds.append(time.perf_counter() - start)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    result[size] = [len(photos) / min(seconds), faults / len(photos) / 3]
    result[f"vectors {size}"] = hashlib.sha256(vectors.numpy().tobytes()).hexdigest()[:12]
json.dump(result, sys.stdout)
PYTHON
unset MALLOC_MMAP_THRESHOLD_ MALLOC_TRIM_THRESHOLD_ GLIBC_TUNABLES LD_PRELOAD
"$folder/venv/bin/python" "$folder/predict.py" > "$folder/default.json"
MALLOC_MMAP_THRESHOLD_=2000000000 MALLOC_TRIM_THRESHOLD_=2000000000 \
    "$folder/venv/bin/python" "$folder/predict.py" > "$folder/tuned.json"
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import sys
from pathlib import Path

default, tuned = (json.loads(Path(sys.argv[1], f"{name}.json").read_text()) for name in ("default", "tuned"))
print("torch {}, torchvision {}, {}, Python {}".format(*default["versions"]))
for name, run in (("as installed", default), ("with both thresholds", tuned)):
    for size in ("4", "64"):
        speed, faults = run[size]
        print(f"{name}, batches of {size}: {speed:.0f} photos/s, {faults:,.0f} page faults a photo, vectors {run['vectors ' + size]}")
changed = [
    default["64"][1] < 2_000,  # thousands of faults a photo
    tuned["64"][1] > default["64"][1] / 10,
    tuned["64"][0] < 1.1 * default["64"][0],
    default["vectors 64"] != tuned["vectors 64"],
]
if any(changed):
    sys.exit("the behaviour has changed")
PYTHON

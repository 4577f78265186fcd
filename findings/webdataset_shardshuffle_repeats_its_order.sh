#!/usr/bin/env bash
# webdataset 1.0.2: shardshuffle gives the same order of shards in every epoch.
#
# Expected: WebDataset(urls, shardshuffle=100).shuffle(1000) is the usual way to shuffle: shards in a new order each
#           epoch, and samples in a buffer. So in time each product is in a batch with every other one.
# Happens:  the constructor draws a seed, also if none is given, and each epoch starts a generator with it. All epochs
#           of a run have one order of shards; the next run has another one, so nobody sees it in the first batches of
#           two runs, and the buffer makes the order of samples new in each epoch. But neighbours stay neighbours:
#           below, with 100 shards and a buffer of one shard, about 16 % of the pairs of shards share any batch in ten
#           epochs, and 70 % with another order each epoch. A contrastive loss has its negatives from the batch, so a
#           catalogue whose shards follow its categories or dates trains on the same few of them. A seed in
#           shuffle(size, seed=1) repeats the samples' order as well.
# Do:       detshuffle=True, with persistent_workers=True if a DataLoader has workers (new ones start with epoch 0), or
#           resampled=True.
# Versions: webdataset 1.0.2, numpy 2.4.6, Python 3.11.7; workers tried with torch 2.15.0
# Date:     2026-11-30
# Matters for: streaming our tars by webdataset: they keep the catalogue's order (pipeline_lib/shards/write.py). Our own
#           training draws a new order each epoch (pipeline_lib/training/samplers.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check webdataset==1.0.2 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import io
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import webdataset

print(f"webdataset {version('webdataset')}, numpy {version('numpy')}, Python {sys.version.split()[0]}")
SHARDS, SAMPLES, BATCH, EPOCHS = 100, 200, 64, 10
urls = [str(Path(sys.argv[1]) / f"{shard:05}.tar") for shard in range(SHARDS)]
for shard, url in enumerate(urls):
    with tarfile.open(url, "w") as tar:
        for number in range(SAMPLES):
            text = str(shard).encode()
            member = tarfile.TarInfo(f"{shard:05}{number:04}.txt")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))


def trained(name, dataset):
    """Return the number of different orders of shards and of samples, and the share of pairs that met in a batch."""
    met = np.zeros((SHARDS, SHARDS), bool)
    shards, samples = set(), set()
    for _ in range(EPOCHS):
        epoch = [(int(sample["txt"]), sample["__key__"]) for sample in dataset]
        shards.add(tuple(dict.fromkeys(shard for shard, _ in epoch)))
        samples.add(tuple(key for _, key in epoch))
        for start in range(0, len(epoch), BATCH):
            together = sorted({shard for shard, _ in epoch[start : start + BATCH]})
            met[np.ix_(together, together)] = True
    share = (met.sum() - SHARDS) / (SHARDS * (SHARDS - 1))
    print(
        f"{name}: {EPOCHS} epochs, {len(shards)} different orders of the shards' first samples, {len(samples)} of all "
        f"samples; {100 * share:.0f} % of the pairs of shards were ever in one batch", flush=True
    )
    return len(shards), len(samples), share


def opened(**arguments):
    return webdataset.WebDataset(urls, shardshuffle=1000, **arguments)


plain = trained("shardshuffle, no buffer", opened())
buffer = trained("shardshuffle, shuffle(200)", opened().shuffle(SAMPLES))
seeded = trained("shardshuffle, shuffle(200, seed=1)", opened().shuffle(SAMPLES, seed=1))
other = trained("detshuffle=True, shuffle(200)", opened(detshuffle=True).shuffle(SAMPLES))
if plain[:2] != (1, 1) or buffer[1] != EPOCHS or seeded[1] != 1 or other[0] != EPOCHS or buffer[2] > 0.5 * other[2]:
    sys.exit("the behaviour has changed")
PYTHON

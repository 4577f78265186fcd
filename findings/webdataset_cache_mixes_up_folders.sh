#!/usr/bin/env bash
# webdataset 1.0.2: with a cache_dir, val/00000.tar is read from the cached train/00000.tar.
#
# Expected: cache_dir stores a copy of each shard, under a name of its own URL; a second data set finds its own shards.
#           For other names, WebDataset takes a function url_to_name.
# Happens:  the name in the cache is the last part of the URL's path. img2dataset calls the shards of every folder
#           00000.tar, 00001.tar, ..., so with one cache_dir the validation set is a part of the training set: the
#           samples' __url__ says val, the photos are those of train, and there is no error or warning. Validation then
#           reports what training reached, and early stopping waits for a fall that does not come. Catalogues of two
#           shops, or of two dates, are mixed up likewise. WebDataset takes url_to_name and does not pass it on. Without
#           a cache, as in a first trial, everything is right.
# Do:       one cache_dir for each folder of shards, or shard names that no other folder has.
# Versions: webdataset 1.0.2, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: streaming our tars by webdataset: those of all projects have equal names (pipeline_lib/shards). Our own
#           reader of URLs has no cache.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check webdataset==1.0.2 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import functools
import hashlib
import http.server
import io
import sys
import tarfile
import threading
from importlib.metadata import version
from pathlib import Path

import webdataset

print(f"webdataset {version('webdataset')}, numpy {version('numpy')}, Python {sys.version.split()[0]}")
root = Path(sys.argv[1]) / "shards"
for split, count in (("train", 80), ("val", 20)):
    (root / split).mkdir(parents=True)
    for shard in range(2):
        with tarfile.open(root / split / f"{shard:05}.tar", "w") as tar:
            for number in range(count):
                text = f"{split} product {shard * count + number}".encode()
                member = tarfile.TarInfo(f"{shard:05}{number:04}.txt")
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Log no requests."""


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
threading.Thread(target=server.serve_forever, daemon=True).start()
start = f"http://127.0.0.1:{server.server_port}"


def read(split, cache=None, **arguments):
    """Return the texts of a split and the folder that the samples' URLs name, through a cache if one is named."""
    if cache:
        arguments["cache_dir"] = str(Path(sys.argv[1]) / cache)
        Path(arguments["cache_dir"]).mkdir(exist_ok=True)
    shards = [f"{start}/{split}/{shard:05}.tar" for shard in range(2)]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, **arguments))
    return {one["txt"].decode() for one in samples}, {one["__url__"].split("/")[-2] for one in samples}


def overlap(name, train_cache=None, val_cache=None, **arguments):
    train, _ = read("train", train_cache, **arguments)
    val, urls = read("val", val_cache, **arguments)
    print(f"{name}: {len(train)} products in train, {len(val)} in val (URLs say {', '.join(urls)}), "
          f"{len(train & val)} in both, for example {min(val)!r}")
    return len(train & val)


def own_name(url):
    asked.append(url)
    return hashlib.sha256(url.encode()).hexdigest()


asked = []
found = [
    overlap("no cache"),
    overlap("one cache_dir", "one", "one"),
    overlap("one cache_dir, url_to_name given", "named", "named", url_to_name=own_name),
    overlap("a cache_dir each", "train-cache", "val-cache"),
]
names = sorted(path.name for path in Path(sys.argv[1], "one").iterdir())
print(f"calls of url_to_name: {len(asked)}; files in the common cache: {', '.join(names)}")
if found != [0, 160, 160, 0] or asked:
    sys.exit("the behaviour has changed")
PYTHON

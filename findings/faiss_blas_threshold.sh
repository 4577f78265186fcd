#!/usr/bin/env bash
# faiss-cpu 1.15.1: an exact search of 400 queries takes several times as long as one of 1,000.
#
# Expected: IndexFlat compares a few queries one by one, and from 20 queries on multiplies matrices with BLAS, as FAISS's
#           documentation says (`distance_compute_blas_threshold`, "20 queries"). So more queries in one call cost less
#           each, and a server that gathers 20 to 200 queries into a batch gains by it.
# Happens:  since 1.14.2 the setting is 128,000 and is compared with queries x width: at width 128 BLAS is used from 1,000
#           queries on, at width 512 from 250 on. Smaller batches are scanned query by query and gain nothing. With few
#           threads that is 3 to 10 times slower than the release before, with the same results. Nothing is printed.
#           `faiss.cvar.distance_compute_blas_threshold = 1_000` (per thread) brings the old speed back; a value that was
#           set for the old meaning, such as 20, now is a number of products, and BLAS is used for every query.
# Versions: faiss-cpu 1.15.1 and 1.13.2, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-29
# Matters for: exact search of small batches (pipeline_lib/retrieval/search.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/measure.py" <<'PYTHON'
import json
import sys
import time

import faiss
import numpy as np

WIDTH, COUNT, K, QUERIES = 128, 100_000, 10, (20, 400, 1_000)
faiss.omp_set_num_threads(1)
draw = np.random.default_rng(0)
products = draw.standard_normal((COUNT, WIDTH), dtype=np.float32)
index = faiss.IndexFlatIP(WIDTH)
index.add(products)
found = {"version": faiss.__version__, "setting": int(faiss.cvar.distance_compute_blas_threshold), "ms": {}}
for setting in (found["setting"], 1_000):
    faiss.cvar.distance_compute_blas_threshold = setting
    for number in QUERIES:
        queries = products[:number] + draw.standard_normal((number, WIDTH), dtype=np.float32)
        times = []
        for _ in range(5):
            start = time.process_time()
            index.search(queries, K)
            times.append(time.process_time() - start)
        found["ms"][f"{setting}: {number}"] = round(1e3 * min(times), 1)
json.dump(found, sys.stdout)
PYTHON
for version in 1.15.1 1.13.2; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check "faiss-cpu==$version" numpy==2.4.6
    "$folder/$version/bin/python" "$folder/measure.py" >"$folder/$version.json"
    echo "CPU milliseconds by setting and number of queries: $(cat "$folder/$version.json")"
done
python3 - "$folder" <<'PYTHON'
import json
import sys
from pathlib import Path

new, old = (json.loads((Path(sys.argv[1]) / f"{version}.json").read_text()) for version in ("1.15.1", "1.13.2"))
slow, thousand = new["ms"][f"{new['setting']}: 400"], new["ms"][f"{new['setting']}: 1000"]
ratios = {
    "setting of 1.15.1": new["setting"],
    "setting of 1.13.2": old["setting"],
    "400 queries against 1,000, 1.15.1": round(slow / thousand, 2),
    "400 queries, 1.15.1 against 1.13.2": round(slow / old["ms"][f"{old['setting']}: 400"], 2),
    "400 queries, 1.15.1 as it comes against the setting 1,000": round(slow / new["ms"]["1000: 400"], 2),
}
print(json.dumps(ratios, indent=1))
if not (new["setting"] == 128_000 and old["setting"] == 20 and slow > thousand and slow > 2 * new["ms"]["1000: 400"]):
    raise SystemExit("the behaviour is no longer the one described")
print("as described")
PYTHON

#!/usr/bin/env bash
# DVC 3.67.1: `dvc exp show --sort-by recall --sort-order desc` lists the best of five experiments fourth, behind a NaN.
#
# Expected: a run that diverged has NaN for its figure and is listed first or last, or without a figure; the others are
#           in the order that was asked for.
# Happens:  rows are sorted by Python's comparison, for which NaN is neither above nor below any number, so the list is
#           cut where the NaN happens to stand and each part has an order of its own. Below, the recalls are listed as
#           .71, .66, nan, .74, .62. Whoever takes the first row, or `--csv | head`, keeps .71 and not .74. Which
#           experiments change places depends on the order in which they ran: with the NaN run last, the other rows are
#           in order, so a trial shows nothing. Nothing is printed. A missing figure is sorted rightly.
# Do:       write no figure in place of NaN (DVC takes null for missing), or sort the `--json` yourself.
# Versions: dvc 3.67.1, PyYAML 6.0.3, Python 3.11.7
# Date:     2026-11-30
# Matters for: lists of experiments; our metrics.json never has NaN (pipeline_lib/artifacts/io.py), and `vitrine
#           experiments` has a sort of its own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check dvc==3.67.1 PyYAML==6.0.3
export PATH="$folder/venv/bin:$PATH" DVC_NO_ANALYTICS=1
python -c "
import sys
from importlib.metadata import version
print('dvc', version('dvc'), 'PyYAML', version('PyYAML'), 'Python', sys.version.split()[0])"

# Prints the recalls as `dvc exp show` sorts them, best first, after experiments with the recalls that are named.
listed() {
  local project number=0
  project=$(mktemp -d -p "$folder") && cd "$project"
  git init --quiet && git config user.name me && git config user.email me@example.com && dvc init --quiet
  cat > train.py <<'PYTHON'
import yaml

recall = yaml.safe_load(open("params.yaml"))["recall_to_reach"]
yaml.safe_dump({"recall": recall}, open("metrics.yaml", "w"))
PYTHON
  cat > dvc.yaml <<'YAML'
stages:
  train: {cmd: python train.py, deps: [train.py], params: [recall_to_reach], metrics: [metrics.yaml: {cache: false}]}
YAML
  echo "recall_to_reach: 0.6" > params.yaml
  dvc repro --quiet && git add . && git commit --quiet --message start
  for recall in "$@"; do
    number=$((number + 1))
    echo "recall_to_reach: $recall" > params.yaml
    dvc exp run --quiet --name "run$number" > run.log 2>&1 || { cat run.log; exit 1; }
  done
  dvc exp show --sort-by recall --sort-order desc --csv | grep ^run | cut -d, -f6 | xargs
}

diverged=$(listed 0.62 0.74 .nan 0.71 0.66)
echo "runs of .62, .74, nan, .71, .66, best first: $diverged"
last=$(listed 0.62 0.74 0.71 0.66 .nan)
echo "the first ones with nan as the last run: $last"
missing=$(listed 0.62 0.74 null 0.71 0.66)
echo "runs of .62, .74, null, .71, .66, best first: $missing"
[ "$diverged" = "0.71 0.66 nan 0.74 0.62" ] && [ "$last" = "nan 0.74 0.71 0.66 0.62" ] \
  && [ "$missing" = "0.74 0.71 0.66 0.62" ] || { echo "the behaviour has changed"; exit 1; }

#!/usr/bin/env bash
# DVC 3.67.1: of a matrix of two models and three sets of queries one combination is never run, because its name equals
#             that of another one: clip x de-test and clip-de x test are both clip-de-test.
#
# Expected: a matrix has a stage for every combination of its values, as its documentation says, or fails where two have
#           one name, as with two outs of one path.
# Happens:  the name of a stage is its values joined by hyphens, and the last combination of a name replaces those
#           before it. Below, 5 of 6 are run, `dvc repro` ends well and prints nothing about it, `dvc status` is clean,
#           and the metrics lack the German queries of the first model, though each file of metrics has a path of its
#           own. With the models in the other order the second model lacks the plain queries. Values that are
#           dicts or lists are numbered in the name instead, model0-queries1, and all 6 are run.
# Do:       values without hyphens; or dicts, {model: [{name: clip}, {name: clip-de}]} and ${item.model.name}; compare
#           the number of stages in `dvc stage list` with the product of the lengths.
# Versions: dvc 3.67.1, Python 3.11.7
# Date:     2026-12-01
# Matters for: matrices of others beside ours; those of two keys in dvc.yaml have whole numbers as the values of one, so
#           all names differ.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check dvc==3.67.1
export PATH="$folder/venv/bin:$PATH" DVC_NO_ANALYTICS=1
mkdir "$folder/project" && cd "$folder/project"
git init --quiet
git config user.name name && git config user.email name@example.org
dvc init --quiet
cat > evaluate.py <<'PYTHON'
import json
import sys
from pathlib import Path

model, queries = sys.argv[1:]
Path(f"{model}.{queries}.json").write_text(json.dumps({"model": model, "queries": queries}))
PYTHON

# Write dvc.yaml with the given lists of models and queries.
write() {
  cat > dvc.yaml <<YAML
stages:
  evaluate:
    matrix:
      model: $1
      queries: $2
    cmd: python evaluate.py \${item.model$3} \${item.queries$3}
    deps: [evaluate.py]
    metrics:
      - "\${item.model$3}.\${item.queries$3}.json"
YAML
}

# Run the pipeline in a clean folder and set `ran` to the files of metrics there are.
run() {
  rm -f ./*.json dvc.lock
  dvc repro --quiet 2> errors.txt || { cat errors.txt; exit 1; }
  ran=$(find . -maxdepth 1 -name "*.json" | sort | tr "\n" " ")
  echo "$1: stages $(dvc stage list --name-only | tr "\n" " ")"
  echo "    files $ran"
  echo "    printed: '$(cat errors.txt)', status: $(dvc status)"
}

dvc --version
QUERIES="[test, de-test, fr-test]"
write "[clip, clip-de]" "$QUERIES" "" && run "clip first"
first=$ran
write "[clip-de, clip]" "$QUERIES" "" && run "clip-de first"
second=$ran
write "[{name: clip}, {name: clip-de}]" "[{name: test}, {name: de-test}, {name: fr-test}]" .name && run "as dicts"
dicts=$ran
if [ "$(wc -w <<< "$first")" != 5 ] || [ "$(wc -w <<< "$second")" != 5 ] || [ "$(wc -w <<< "$dicts")" != 6 ] ||
  [ "$first" = "$second" ]; then
  echo "the behaviour has changed"
  exit 1
fi

#!/usr/bin/env bash
# DVC 3.67.1: a changed param called `size` (or `nfiles`) does not rerun a stage that declares the section it is in: the
#             outs of the other size are restored from the run cache and recorded under the new one.
#
# Expected: `params: [image]` in dvc.yaml makes a stage depend on every key below `image`. After a run with image.size 96,
#           a change to 72 runs the command, or restores outs that were made with 72.
# Happens:  the first `dvc repro` after the change sees it, prints "is cached - skipping run, checking out outputs", and
#           puts the file made with 96 back. dvc.lock then has size 72 beside it, so `dvc status` is clean and
#           `dvc exp show` lists a result of 72 that was never computed. The key of the run cache is a hash of the stage's
#           entry in dvc.lock without the sizes and file counts of its deps, and they are removed by name, at any depth,
#           params included. A key `width` in the same place is safe. So is a `size` that the stage declares by its full
#           name, because then it is one word (image.size), and so is `dvc repro --no-run-cache`.
# Versions: dvc 3.67.1, Python 3.11.7
# Date:     2026-11-29
# Matters for: dvc.yaml, which declares shards.size beside shards; tests/experiments/next_run/test_run_cache.py.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check dvc==3.67.1
export PATH="$folder/venv/bin:$PATH" DVC_NO_ANALYTICS=1
python -c "import sys; from importlib.metadata import version; print('dvc', version('dvc'), 'Python', sys.version.split()[0])"

# A stage copies the value of one param; `declared` is what its entry in dvc.yaml names.
try() {
  local name=$1 key=$2 declared=$3
  mkdir "$folder/$name" && cd "$folder/$name"
  dvc init --quiet --no-scm
  printf 'stages:\n  resize:\n    cmd: cp params.yaml made-with.txt\n    deps: [photos.txt]\n    params: [%s]\n    outs: [made-with.txt]\n' \
    "$declared" > dvc.yaml
  echo photos > photos.txt
  for value in 96 72; do
    printf 'image:\n  %s: %s\n  quality: 90\n' "$key" "$value" > params.yaml
    dvc repro > "$folder/$name.log" 2>&1
  done
  local made
  made=$(grep -o "$key: [0-9]*" made-with.txt)
  echo "params: [$declared], image.$key changed from 96 to 72: the out was made with $made; dvc status: $(dvc status)"
  echo "$made" > "$folder/$name.made"
}
try section_size size image
try section_width width image
try full_name size image.size
[ "$(cat "$folder/section_size.made")" = "size: 96" ] || { echo "the behaviour has changed"; exit 1; }
[ "$(cat "$folder/section_width.made")" = "width: 72" ] && [ "$(cat "$folder/full_name.made")" = "size: 72" ]

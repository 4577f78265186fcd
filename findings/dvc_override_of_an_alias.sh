#!/usr/bin/env bash
# DVC 3.67.1: `dvc exp run -S evaluate.image_size=448` also changes train.image_size if the two share a YAML anchor, and
#             any -S writes merged keys out, so that the anchor's later edits do not reach them.
#
# Expected: -S sets the one key that it names. In the file an alias (`evaluate: *common`) is a copy of the anchored
#           section, as every reader of YAML sees it; a merge (`<<: *common`) follows the anchor, before and after an
#           experiment.
# Happens:  DVC merges its overrides into the objects of ruamel.yaml, in which alias and anchor are one object. So the
#           stage that depends on `train` has changed as well and trains for hours at 448, and the comparison "only
#           evaluation is larger" compares two models. A section with `<<` gets a copy of all merged keys at the first
#           -S of anything: when the anchor's learning rate is edited next, that section keeps the old one.
# Do:       no anchors in params.yaml; interpolate shared values in dvc.yaml (`${common.lr}`), and read `git diff`
#           after -S.
# Versions: dvc 3.67.1, ruamel.yaml 0.19.1, PyYAML 6.0.3, Python 3.11.7
# Date:     2026-11-30
# Matters for: params.yaml, which has no anchors, and the commands with -S in docs/day-to-day.md.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check dvc==3.67.1 ruamel.yaml==0.19.1 PyYAML==6.0.3
export PATH="$folder/venv/bin:$PATH" DVC_NO_ANALYTICS=1
mkdir "$folder/project" && cd "$folder/project"
git init --quiet
git config user.name name && git config user.email name@example.org
dvc init --quiet
cat > params.yaml <<'YAML'
train: &common
  image_size: 224
  lr: 0.001
evaluate: *common
finetune:
  <<: *common
  epochs: 3
seed: 0
YAML
cat > dvc.yaml <<'YAML'
stages:
  train: {cmd: echo trained >> log.txt, params: [train]}
  evaluate: {cmd: echo evaluated >> log.txt, params: [evaluate]}
YAML
printf 'log.txt\n' > .gitignore
dvc repro --quiet
git add --all && git commit --quiet --message start
echo "as written: $(python -c "import yaml; print(yaml.safe_load(open('params.yaml')))")"
: > log.txt

dvc exp run --quiet -S evaluate.image_size=448
echo "after -S evaluate.image_size=448: $(python -c "import yaml; print(yaml.safe_load(open('params.yaml')))")"
echo "stages that ran: $(tr '\n' ' ' < log.txt)"
ran=$(tr '\n' ' ' < log.txt)

git checkout --quiet -- params.yaml dvc.lock
dvc exp run --quiet -S seed=1
sed -i '0,/lr: 0.001/s//lr: 0.0001/' params.yaml
after=$(python -c "import yaml; params = yaml.safe_load(open('params.yaml')); print(params['train']['lr'], params['finetune']['lr'])")
echo "after -S seed=1 and an edit of the anchor's lr to 0.0001: train.lr and finetune.lr are $after"
[ "$ran" = "trained evaluated " ] && [ "$after" = "0.0001 0.001" ] || { echo "the behaviour has changed"; exit 1; }

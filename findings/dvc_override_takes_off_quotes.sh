#!/usr/bin/env bash
# DVC 3.67.1: `dvc exp run -S lr=0.02` takes the quotes off other params such as 'no' and '4:3', and a stage that reads
#             them by PyYAML or OmegaConf gets False for the market 'no' and 243 for the aspect '4:3'; `dvc params diff`
#             shows lr alone.
#
# Expected: -S changes the value that it names. Quotes are part of how the others are written, and what is written in
#           quotes stays text for every reader.
# Happens:  DVC writes the file again by YAML 1.2, where no, on, yes and 4:3 are text without quotes. PyYAML reads YAML
#           1.1, where they are False, True, True and 4 * 60 + 3. DVC itself still reads text, so params
#           diff shows no change of them; `git diff` shows the lines. Below, the markets are
#           ['no', 'se', 'dk']: before, 3,000 products are trained on, after -S lr=0.02 2,000, because none has the
#           market False, and nothing raises. Each later run trains on them too, so the experiments before and after
#           differ in more than the rate. Values after -S are written so as well: -S market=no is False, -S aspect=16:9
#           is 969, -S lr=1e-5 is the text "1e-05" to PyYAML. Texts that YAML 1.2 too would read as a number stay in
#           quotes.
# Do:       read params by dvc.api.params_show() or ruamel.yaml, in YAML 1.2 as DVC does.
# Versions: dvc 3.67.1, ruamel.yaml 0.19.1, PyYAML 6.0.3, omegaconf 2.3.1, Python 3.11.7
# Date:     2026-11-30
# Matters for: stages of others around ours; ours read params.yaml by ruamel.yaml (pipeline_lib/params/section.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check dvc==3.67.1 ruamel.yaml==0.19.1 \
  PyYAML==6.0.3 omegaconf==2.3.1
export PATH="$folder/venv/bin:$PATH" DVC_NO_ANALYTICS=1
mkdir "$folder/project" && cd "$folder/project"
git init --quiet
git config user.name name && git config user.email name@example.org
dvc init --quiet
cat > params.yaml <<'YAML'
markets: ['no', 'se', 'dk']
aspect: '4:3'
mirror: 'on'
article: '0012'
lr: 0.01
YAML
cat > train.py <<'PYTHON'
import json

import yaml

params = yaml.safe_load(open("params.yaml"))
products = [{"id": number, "market": ("no", "se", "dk", "fi")[number % 4]} for number in range(4_000)]
chosen = [product for product in products if product["market"] in params["markets"]]
json.dump({"products": len(chosen), **params}, open("trained.json", "w"))
PYTHON
cat > dvc.yaml <<'YAML'
stages:
  train:
    cmd: python train.py
    deps: [train.py]
    params: [markets, aspect, mirror, article, lr]
    metrics: [trained.json]
YAML
dvc repro --quiet
git add --all && git commit --quiet --message start
echo "before: $(cat trained.json)"
before=$(cat trained.json)

dvc exp run --quiet -S lr=0.02
echo "after -S lr=0.02: $(cat trained.json)"
after=$(cat trained.json)
echo "params.yaml: $(tr '\n' ' ' < params.yaml)"
echo "dvc params diff:" && dvc params diff
python - <<'PYTHON'
import dvc.api
import omegaconf

print("OmegaConf:", omegaconf.OmegaConf.load("params.yaml"))
print("dvc.api.params_show():", dvc.api.params_show())
PYTHON
changed=$(dvc params diff --json)

dvc exp run --quiet -S aspect=16:9 -S lr=1e-5
echo "after -S aspect=16:9 -S lr=1e-5: $(cat trained.json)"
python - "$before" "$after" "$changed" <<'PYTHON'
import json
import sys

before, after, changed = (json.loads(text) for text in sys.argv[1:])
last = json.load(open("trained.json"))
quotes = before["markets"][0] == "no" and after["markets"][0] is False and after["aspect"] == 243
if not (quotes and [before["products"], after["products"]] == [3_000, 2_000] and [*changed["params.yaml"]] == ["lr"]):
    sys.exit("the behaviour has changed")
if [last["aspect"], last["lr"], last["article"]] != [969, "1e-05", "0012"]:
    sys.exit("the behaviour has changed")
PYTHON

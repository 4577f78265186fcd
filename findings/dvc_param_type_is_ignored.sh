#!/usr/bin/env bash
# DVC 3.67.1: a param that changes from 1 to 1.0, or from 1 to true, or from 0 to false, has not changed.
#
# Expected: params are compared by value and type, as JSON and YAML do; a change of the text in params.yaml that the
#           program reads as another value runs the stage.
# Happens:  values are compared with Python's ==, for which 1, 1.0 and true are equal, also inside a section.
#           `dvc repro` says "didn't change, skipping", `dvc status` and `dvc params diff` are clean, and dvc.lock
#           keeps the old text. In this field the type is the meaning: Lightning's limit_train_batches is one batch at
#           1 and all of them at 1.0, its val_check_interval is each batch and each epoch, scikit-learn's min_df is
#           one document at 1 and all of them at 1.0. Whoever tries the pipeline with `limit_train_batches: 1` and
#           then writes 1.0 gets the model of one batch, as the result of the full run.
# Do:       `dvc repro --force STAGE` after such a change, or a word that the program maps to all.
# Versions: dvc 3.67.1, scikit-learn 1.9.1, Python 3.11.7
# Date:     2026-11-30
# Matters for: params.yaml, in which no setting means something else as 1 than as 1.0 or true.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check dvc==3.67.1 scikit-learn==1.9.1 PyYAML==6.0.3
export PATH="$folder/venv/bin:$PATH" DVC_NO_ANALYTICS=1
python -c "
import sys
from importlib.metadata import version
print('dvc', version('dvc'), 'scikit-learn', version('scikit-learn'), 'Python', sys.version.split()[0])"
mkdir "$folder/project" && cd "$folder/project"
git init --quiet && dvc init --quiet
cat > count_words.py <<'PYTHON'
import yaml
from sklearn.feature_extraction.text import TfidfVectorizer

titles = ["red dress", "blue dress", "green dress"]
min_df = yaml.safe_load(open("params.yaml"))["text"]["min_df"]
words = sorted(TfidfVectorizer(min_df=min_df).fit(titles).vocabulary_)
open("words.txt", "w").write(" ".join(words))
PYTHON
cat > dvc.yaml <<'YAML'
stages:
  words: {cmd: python count_words.py, deps: [count_words.py], params: [text], outs: [words.txt]}
YAML
printf 'text:\n  min_df: 1\n' > params.yaml
dvc repro --quiet
echo "min_df: 1   -> $(cat words.txt)"
printf 'text:\n  min_df: 1.0\n' > params.yaml
echo "dvc status: $(dvc status)"
echo "dvc repro: $(dvc repro 2>&1 | head -1)"
after=$(cat words.txt)
echo "min_df: 1.0 -> $after"
dvc repro --quiet --force
forced=$(cat words.txt)
echo "the same, forced -> $forced"
printf 'text:\n  min_df: true\n' > params.yaml
echo "dvc status with true: $(dvc status)"
[ "$after" = "blue dress green red" ] && [ "$forced" = "dress" ] && [ "$(dvc status)" = "Data and pipelines are up to date." ] \
  || { echo "the behaviour has changed"; exit 1; }

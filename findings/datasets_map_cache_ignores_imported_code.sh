#!/usr/bin/env bash
# datasets 5.2.0: after an edit of an imported function, `map` gives the result of the old code, in every later process.
#
# Expected: the cache of `map` is found by a hash of the function and all that it uses: "any change you do to an
#           object that is used in your function, will cause the hash to change", says the documentation. So an edited
#           cleaning step is run again.
# Happens:  only code of the script itself is hashed. A function from a module is hashed by its name, also where the
#           script's own function or lambda calls it. So as soon as the cleaning of texts moves from the notebook into
#           a module, edits of it do nothing: `map` returns at once with the old rows, from a file in the cache of the
#           home folder, and the model is trained on them. `Dataset.from_generator` likewise never sees that a file
#           which the generator reads has changed.
# Do:       give `map` a `new_fingerprint` made of the module's source, or `load_from_cache_file=False`.
# Versions: datasets 5.2.0, dill 0.4.1, Python 3.11.7
# Date:     2026-11-30
# Matters for: tables that are cleaned with datasets before they become a catalogue (docs/own-catalogue.md).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0 dill==0.4.1
export HF_HOME="$folder/home" HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1
cd "$folder"
printf 'text\nred shoe\n' > products.csv
printf 'red shoe' > note.txt
cat > cleaning.py <<'PYTHON'
def clean(text):
    return text.title()


def clean_row(row):
    return {"clean": clean(row["text"])}
PYTHON
cat > prepare.py <<'PYTHON'
import cleaning
import datasets

datasets.disable_progress_bars()
products = datasets.load_dataset("csv", data_files="products.csv", split="train")


def own_function(row):
    return {"clean": cleaning.clean(row["text"])}


def own_code(row):
    return {"clean": row["text"].title()}


def notes():
    yield {"text": open("note.txt").read()}


for name, function in {
    "imported function": cleaning.clean_row,
    "own function that calls it": own_function,
    "lambda that calls it": lambda row: {"clean": cleaning.clean(row["text"])},
    "code of the script": own_code,
}.items():
    print(f"{name}: {products.map(function)[0]['clean']}")
print("from_generator:", datasets.Dataset.from_generator(notes)[0]["text"])
PYTHON
python=$folder/venv/bin/python
"$python" -c "
import sys
from importlib.metadata import version
print('datasets', version('datasets'), 'dill', version('dill'), 'Python', sys.version.split()[0])"
echo "- before" && "$python" prepare.py
sed -i 's/title()/upper()/' cleaning.py prepare.py
printf 'BLUE BOOT' > note.txt
echo "- after title() became upper() everywhere, and red shoe BLUE BOOT in the generator's file" && "$python" prepare.py | tee after.txt
cat > wanted.txt <<'TEXT'
imported function: Red Shoe
own function that calls it: Red Shoe
lambda that calls it: Red Shoe
code of the script: RED SHOE
from_generator: red shoe
TEXT
cmp -s after.txt wanted.txt || { echo "the behaviour has changed"; exit 1; }

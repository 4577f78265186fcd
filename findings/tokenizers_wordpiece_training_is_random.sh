#!/usr/bin/env bash
# tokenizers 0.23.3: WordPieceTrainer gives another vocabulary in every process; BpeTrainer gives the same one.
#
# Expected: training counts pairs and takes the most frequent one, so the same texts give the same vocabulary. It does
#           for BPE, and WordPiece's trainer is the BPE trainer inside.
# Happens:  with the prefix ## of WordPiece, the letters inside of words get their ids in another order in each
#           process, and not all pairs that are merged are the same. Below, 5 processes train 5 vocabularies of 600: a
#           fifth to a third of the tokens have another id, and some are in one vocabulary only. One thread or
#           TOKENIZERS_PARALLELISM=false changes nothing, and there is no seed. So a pipeline that trains its
#           tokenizer trains another model on every machine and after every `dvc repro --force`; weights that meet a
#           retrained tokenizer of the same size load without an error and read other words. BpeTrainer with
#           continuing_subword_prefix="##" does the same.
# Do:       train once and keep tokenizer.json with the data; or BPE without a prefix.
# Versions: tokenizers 0.23.3, Python 3.11.7
# Date:     2026-11-30
# Matters for: text towers with a vocabulary of one's own; the sample draws its vocabulary itself
#           (data/sample/shop/towers.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check tokenizers==0.23.3
cat > "$folder/train.py" <<'PYTHON'
import json
import random
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

draw = random.Random(0)
colours = "red blue black white green ecru navy beige".split()
materials = "cotton linen leather wool suede denim viscose".split()
things = "shirt dress sneaker boot sandal jacket jumper lamp cushion saucepan".split()
titles = [
    f"{draw.choice(colours)} {draw.choice(materials)} {draw.choice(things)} with {draw.choice(materials)}"
    f"-{draw.choice(things)} {draw.randint(100, 999)}{draw.choice('abcxyz')}"
    for _ in range(5_000)
]
model, trainer = {
    "WordPiece": (models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer),
    "BPE": (models.BPE(unk_token="[UNK]"), trainers.BpeTrainer),
}[sys.argv[1]]
tokenizer = Tokenizer(model)
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
tokenizer.train_from_iterator(titles, trainer(vocab_size=600, special_tokens=["[UNK]"], show_progress=False))
json.dump([tokenizer.get_vocab(), tokenizer.encode("red cotton sneaker 512x").ids], sys.stdout)
PYTHON
"$folder/venv/bin/python" - "$folder/train.py" <<'PYTHON'
import json
import os
import subprocess
import sys
from importlib.metadata import version

print(f"tokenizers {version('tokenizers')}, Python {sys.version.split()[0]}")
one_thread = os.environ | {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
different = {}
for kind in ("BPE", "WordPiece"):
    runs = []
    for _ in range(5):
        command = [sys.executable, sys.argv[1], kind]
        runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, env=one_thread).stdout))
    different[kind] = len({json.dumps(vocabulary, sort_keys=True) for vocabulary, _ in runs})
    (first, ids), (second, other_ids) = runs[:2]
    moved = sum(first[token] != second.get(token, first[token]) for token in first)
    print(f"{kind}: {different[kind]} different vocabularies in 5 processes; of {len(first)} tokens of the first, {moved} have "
          f"another id in the second and {len(first.keys() - second.keys())} are not in it; a title is {ids} and {other_ids}")
if different["BPE"] != 1 or different["WordPiece"] < 3:
    sys.exit("the behaviour has changed")
PYTHON

#!/usr/bin/env bash
# rapidfuzz 3.14.6: process.extractOne gives 85.5 of 100 for one word in common, so a cutoff of 85 finds a product for
#             95 to 100 % of the short titles whose product is not there, and more words of a title find it less often.
#
# Expected: the default scorer, fuzz.WRatio, weighs whole titles; a query with more words of a title finds it more
#           often; 85 is a strict cutoff.
# Happens:  if one text is at least 1.5 times as long as the other, WRatio takes partial_token_set_ratio, which is 100
#           as soon as a single word is in both ("for" will do), times .95 times .9. So many products have 85.5 points,
#           and of equals the first of the list is returned. Below, a catalogue has 2,000 titles of ten words, and a
#           query is the first words of one, with a fifth of them misspelt. With 4 words .84 of the titles are found,
#           with 6 words .71, with 8, where the rule no longer holds, 1.00; fuzz.ratio finds .99 or more with 4 to 10.
#           Of 200 titles whose product is not there, 95 % have a match of 85 or more with 2 words and all with 4 to 6;
#           by fuzz.ratio none. The documentation shows the rule in a picture, from which one has to work out the 85.5.
#           cdist has fuzz.ratio as its default, so the two disagree.
# Do:       scorer=fuzz.ratio or token_sort_ratio.
# Versions: rapidfuzz 3.14.6, numpy 2.4.6, Python 3.11.7
# Date:     2026-12-01
# Matters for: feeds joined by title, and duplicates found by title, outside; ours compares the words
#           of titles (pipeline_lib/splitting/overlap.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check rapidfuzz==3.14.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from rapidfuzz import fuzz, process

print(f"rapidfuzz {version('rapidfuzz')}, numpy {version('numpy')}, Python {sys.version.split()[0]}")
PRODUCTS, QUERIES, SEEDS, LENGTHS = 2_000, 200, 3, (2, 3, 4, 5, 6, 7, 8, 10)
KINDS = "mug kettle lamp chair shelf basket blanket cushion mirror carpet teapot bowl tray vase clock stool".split()
COLOURS = "white black green blue yellow brown orange purple silver golden".split()
STUFFS = "cotton bamboo ceramic leather marble walnut linen copper velvet glass".split()
ROOMS = "kitchen bathroom bedroom garden office hallway nursery terrace".split()
SCORERS = {"default": fuzz.WRatio, "ratio": fuzz.ratio, "token_sort_ratio": fuzz.token_sort_ratio}


def made_up(draws, count):
    """Return names of brands and series."""
    parts = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]
    return ["".join(draws.choice(parts, 3)) for _ in range(count)]


def misspelt(word, draws):
    """Swap two letters of one word in five."""
    if draws.random() > 0.2:
        return word
    at = draws.integers(len(word) - 1)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def trial(seed):
    draws = np.random.default_rng(seed)
    brands, series = made_up(draws, 60), made_up(draws, 200)
    parts = brands, KINDS, series, COLOURS, STUFFS, ["for"], ROOMS, ["with"], STUFFS, ["lid", "handle", "cover"]
    titles = list(dict.fromkeys(" ".join(draws.choice(words) for words in parts) for _ in range(2 * PRODUCTS)))
    catalogue, others = titles[:PRODUCTS], titles[PRODUCTS : PRODUCTS + QUERIES]
    chosen = draws.choice(PRODUCTS, QUERIES, replace=False)
    figures = {}
    for words in LENGTHS:

        def asked(title):
            return " ".join(misspelt(word, draws) for word in title.split()[:words])

        known, unknown = [asked(catalogue[row]) for row in chosen], [asked(title) for title in others]
        for name, scorer in SCORERS.items():
            ways = {} if name == "default" else {"scorer": scorer}
            right = [process.extractOne(text, catalogue, **ways)[2] for text in known] == chosen
            lost = [process.extractOne(text, catalogue, score_cutoff=85, **ways) is not None for text in unknown]
            figures[words, name] = float(np.mean(right)), float(np.mean(lost))
    return figures


runs = [trial(seed) for seed in range(SEEDS)]
one = fuzz.WRatio("shelf for books", "bamboo kettle with white handle for the kitchen")
print(f"'shelf for books' and 'bamboo kettle with white handle for the kitchen': {one}")
means = {key: np.mean([figures[key] for figures in runs], 0).round(3).tolist() for key in runs[0]}
for words in LENGTHS:
    shown = "; ".join(f"{name} {means[words, name][0]:.3f} and {means[words, name][1]:.3f}" for name in SCORERS)
    print(f"{words} of 10 words, right title and 85 points for a product that is not there: {shown}")
for figures in runs:
    fewer, more, full = (figures[words, "default"] for words in (4, 7, 10))
    if one != 85.5 or min(fewer[1], figures[2, "default"][1]) < 0.9 or more[0] > fewer[0] - 0.05 or full[0] < 0.99:
        sys.exit("the behaviour has changed")
    if any(figures[words, "ratio"][1] > 0.05 for words in LENGTHS) or figures[7, "ratio"][0] < 0.99:
        sys.exit("ratio has changed")
PYTHON

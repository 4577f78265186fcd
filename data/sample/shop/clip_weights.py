"""Writes the weights for runs on the clips: the sample's image tower, and its text tower trained on captions of clips.

`dvc repro` runs it as `python -m shop.clip_weights` in data/sample. Public text towers have read sentences in which the
order of words matters. That of `weights` has read lists of properties: its features of "from left to right" and "from
right to left" differed by 4 % of their spread over products. So it learns here what captions say that happens, and
which colour comes first, of objects that the shop does not sell.
"""

import shutil
from pathlib import Path

import numpy as np

from shop.clip_words import ACTIONS, Shown, phrases, write_captions
from shop.other_goods import OTHER_GOODS
from shop.pairs import Numbers
from shop.stage import run_stage, write_line
from shop.weights import in_one_thread
from shop.words import COLOURS, PATTERNS

WEIGHTS = Path("weights")
# Properties of a caption: the action and its direction (0 = no action), both colours, the pattern and the object.
LABELS = ("action", "first", "last", "pattern", "kind")


def draw_captions(count: int, seed: int) -> tuple[list[str], dict[str, Numbers]]:
    """Return captions of clips of other objects, and the number (count,) of each caption's value of LABELS."""
    rng = np.random.default_rng([seed, 9])
    kinds, colours, patterns, actions = list(OTHER_GOODS), list(COLOURS), list(PATTERNS), [None, *ACTIONS]
    texts, rows = [], []
    for _ in range(count):
        kind, colour, pattern = (int(rng.integers(len(names))) for names in (kinds, colours, patterns))
        number, backwards = int(rng.integers(len(actions))), bool(rng.integers(2))
        action, first, last, new = actions[number], colour, colour, None
        if action == "colour":
            other = (colour + 1 + int(rng.integers(len(colours) - 1))) % len(colours)
            new = colours[other]
            first, last = (other, colour) if backwards else (colour, other)
        shown = Shown(OTHER_GOODS[kinds[kind]].names, patterns[pattern], colours[colour], new)
        captions = write_captions(shown, action, backwards, rng)
        texts.append(captions[rng.integers(len(captions))])
        rows.append((2 * number - (number > 0 and backwards), first, last, pattern, kind))
    return texts, dict(zip(LABELS, np.array(rows, dtype=np.int64).T.copy(), strict=True))


def make_text_tower(folder: Path, params: dict[str, int]) -> float:
    """Write the folder of the text tower; return its mean accuracy over LABELS."""
    from shop.pretrain import pretrain_captions
    from shop.towers import add_words, load_text_tower, save_text_tower

    tower, tokenizer = add_words(*load_text_tower(WEIGHTS / "text"), phrases(), params["seed"])
    texts, labels = draw_captions(params["captions"], params["seed"])
    accuracy = pretrain_captions(tower, tokenizer, texts, labels, params)
    tokenizer.no_truncation()
    save_text_tower(tower.eval(), tokenizer, folder)
    return accuracy


def make_clip_weights(out: Path, params: dict[str, int]) -> float:
    """Write both towers into a folder; return the accuracy of the text tower."""
    write_line(f"clip_weights: a text tower, {params['epochs']} epochs on {params['captions']:,} captions")
    shutil.copytree(WEIGHTS / "image", out / "image")
    return in_one_thread(make_text_tower, out / "text", params)


def main() -> None:
    """Write the folder `clip_weights` from the params section of that name."""

    def make(out: Path, params: dict[str, int], jobs: int) -> None:
        write_line(f"accuracy over the labels: {make_clip_weights(out, params):.2f}")

    run_stage("clip_weights", make)


if __name__ == "__main__":
    main()

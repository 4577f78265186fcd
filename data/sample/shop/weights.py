"""Make the weights that stand in for public ones: two towers pretrained on objects the shop does not sell.

Run by `dvc repro` as `python -m shop.weights` in data/sample. Colours, patterns, materials and their words are the
shop's, the categories are not; towers pretrained on unrelated pictures were found worse than none.
"""

import os
import sys
from pathlib import Path

import torch

from shop.goods import GOODS
from shop.listing import SECOND_IN_TITLE, SENTENCES
from shop.other_goods import OTHER_GOODS
from shop.pairs import draw_pairs
from shop.pretrain import Pretrained, pretrain
from shop.stage import read_section, whole_folder
from shop.towers import build_tokenizer, save_image_tower, save_text_tower
from shop.words import BUILDS, COLOURS, FILLERS, MATERIALS, PATTERNS, PRAISE

NUM_THREADS = 2


def vocabulary() -> list[str]:
    """Return every phrase that either set of objects is described with, as a public tokenizer would know them."""
    tables = (COLOURS, PATTERNS, MATERIALS, BUILDS)
    names = [names for table in tables for names in table.values()]
    names += [goods.names for table in (GOODS, OTHER_GOODS) for goods in table.values()]
    words = [word for group in (*names, FILLERS, PRAISE) for word in (*group.en, *group.zh)]
    frames = [frame for told in SENTENCES.values() for choices in told.values() for frame in choices]
    tails = [frame for choices in SECOND_IN_TITLE.values() for frame in choices]
    return [*words, *(frame.format("") for frame in (*frames, *tails))]


def make_weights(out: Path, params: dict[str, int], num_jobs: int = 1) -> Pretrained:
    """Write both towers into a folder and return them."""
    seed, image_size = params["seed"], params["image_size"]
    pairs = draw_pairs(params["objects"], seed, image_size, num_jobs)
    tokenizer = build_tokenizer(vocabulary())
    torch.set_num_threads(NUM_THREADS)
    towers = pretrain(pairs, tokenizer, params, seed)
    save_image_tower(towers.image, out / "image", image_size)
    tokenizer.no_truncation()
    save_text_tower(towers.text, tokenizer, out / "text")
    return towers


def main() -> None:
    """Make the folder `weights` from the section of that name."""
    try:
        params = read_section("weights")
        with whole_folder(Path("weights")) as out:
            made = make_weights(out, params, len(os.sched_getaffinity(0)))
        sys.stdout.write(f"properties told right: image {made.image_accuracy:.2f}, text {made.text_accuracy:.2f}\n")
    except (ValueError, OSError) as error:
        raise SystemExit(f"shop.weights: error: {error}") from error


if __name__ == "__main__":
    main()

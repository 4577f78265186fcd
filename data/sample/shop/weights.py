"""Make the weights that stand in for public ones: two towers pretrained on objects the shop does not sell.

Run by `dvc repro` as `python -m shop.weights` in data/sample. Colours, patterns, materials and their words are the
shop's, the categories are not; towers pretrained on unrelated pictures were found worse than none.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from joblib import Parallel, delayed

from shop.goods import GOODS
from shop.listing import SECOND_IN_TITLE, SENTENCES
from shop.other_goods import OTHER_GOODS
from shop.pairs import Pairs, draw_pairs
from shop.stage import read_section, whole_folder
from shop.words import BUILDS, COLOURS, FILLERS, MATERIALS, PATTERNS, PRAISE


def vocabulary() -> list[str]:
    """Return every phrase that either set of objects is described with, as a public tokenizer would know them."""
    tables = (COLOURS, PATTERNS, MATERIALS, BUILDS)
    names = [names for table in tables for names in table.values()]
    names += [goods.names for table in (GOODS, OTHER_GOODS) for goods in table.values()]
    words = [word for group in (*names, FILLERS, PRAISE) for word in (*group.en, *group.zh)]
    frames = [frame for told in SENTENCES.values() for choices in told.values() for frame in choices]
    tails = [frame for choices in SECOND_IN_TITLE.values() for frame in choices]
    return [*words, *(frame.format("") for frame in (*frames, *tails))]


def make_weights(out: Path, params: dict[str, int], num_jobs: int = 1) -> dict[str, float]:
    """Write both towers into a folder; return how often each told a property right.

    They train in a thread each, side by side where there are two jobs: layers this narrow gain less from a second
    thread than a second tower does, and the weights do not depend on the number of processors.
    """
    pairs = draw_pairs(params["objects"], params["seed"], params["image_size"], num_jobs)
    makers = {"image": make_image_tower, "text": make_text_tower}
    told = Parallel(n_jobs=min(num_jobs, len(makers)), batch_size=1, max_nbytes=None)(
        delayed(in_one_thread)(make, out / name, pairs, params) for name, make in makers.items()
    )
    return dict(zip(makers, told, strict=True))


def in_one_thread(
    make: Callable[[Path, Pairs, dict[str, int]], float], folder: Path, pairs: Pairs, params: dict[str, int]
) -> float:
    """Return what `make` does with torch kept to one thread, and give it back those it had."""
    import torch  # slow to import, and not for the processes that only draw

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return make(folder, pairs, params)
    finally:
        torch.set_num_threads(before)


def make_image_tower(folder: Path, pairs: Pairs, params: dict[str, int]) -> float:
    """Write the folder of the image tower; return how often it told a property right."""
    from shop.pretrain import pretrain_image
    from shop.towers import save_image_tower

    tower, told = pretrain_image(pairs, params, params["seed"])
    save_image_tower(tower, folder, params["image_size"])
    return told


def make_text_tower(folder: Path, pairs: Pairs, params: dict[str, int]) -> float:
    """Write the folder of the text tower; return how often it told a property right."""
    from shop.pretrain import pretrain_text
    from shop.towers import build_tokenizer, save_text_tower

    tokenizer = build_tokenizer(vocabulary())
    tower, told = pretrain_text(pairs, tokenizer, params, params["seed"])
    tokenizer.no_truncation()
    save_text_tower(tower, tokenizer, folder)
    return told


def main() -> None:
    """Make the folder `weights` from the section of that name."""
    try:
        params = read_section("weights")
        with whole_folder(Path("weights")) as out:
            told = make_weights(out, params, len(os.sched_getaffinity(0)))
        sys.stdout.write(f"properties told right: image {told['image']:.2f}, text {told['text']:.2f}\n")
    except (ValueError, OSError) as error:
        raise SystemExit(f"shop.weights: error: {error}") from error


if __name__ == "__main__":
    main()

"""Writes the weights that take the place of public ones: two towers pretrained on objects the shop does not sell.

`dvc repro` runs it as `python -m shop.weights` in data/sample. The pretraining shares colours, patterns, materials and
their words with the shop, but no category. Towers pretrained on unrelated pictures were worse than random ones.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from shop.goods import GOODS
from shop.listing import SECOND_IN_TITLE, SENTENCES
from shop.other_goods import OTHER_GOODS
from shop.pairs import Pairs, draw_pairs
from shop.stage import run_stage, write_line
from shop.words import BUILDS, COLOURS, FILLERS, MATERIALS, PATTERNS, PRAISE


def vocabulary() -> list[str]:
    """Return all phrases that describe either set of objects; a public tokenizer would know them too."""
    tables = (COLOURS, PATTERNS, MATERIALS, BUILDS)
    names = [names for table in tables for names in table.values()]
    names += [goods.names for table in (GOODS, OTHER_GOODS) for goods in table.values()]
    words = [word for group in (*names, FILLERS, PRAISE) for word in (*group.en, *group.zh)]
    frames = [frame for language in SENTENCES.values() for choices in language.values() for frame in choices]
    tails = [frame for choices in SECOND_IN_TITLE.values() for frame in choices]
    return [*words, *(frame.format("") for frame in (*frames, *tails))]


def make_weights(out: Path, params: dict[str, int], num_jobs: int = 1) -> dict[str, float]:
    """Write both towers into a folder; return the mean accuracy of each over the properties.

    Each tower trains in one thread; with two jobs both train at the same time. Layers this narrow gain little from a
    second thread, and the weights do not depend on the number of processors.
    """
    epochs = f"{params['image_epochs']} and {params['text_epochs']} epochs"
    write_line(f"weights: an image and a text tower, {epochs} on {params['objects']:,} drawn objects")
    pairs = draw_pairs(params["objects"], params["seed"], params["image_size"], num_jobs)
    makers = {"image": make_image_tower, "text": make_text_tower}
    accuracies = Parallel(n_jobs=min(num_jobs, len(makers)), batch_size=1, max_nbytes=None)(
        delayed(in_one_thread)(make, out / name, pairs, params) for name, make in makers.items()
    )
    return dict(zip(makers, accuracies, strict=True))


def in_one_thread(make: Callable[..., float], *arguments: Any) -> float:
    """Return the result of `make` with torch limited to one thread; the number of threads is restored afterwards."""
    import torch  # slow to import, and not needed by the drawing processes

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return make(*arguments)
    finally:
        torch.set_num_threads(before)


def make_image_tower(folder: Path, pairs: Pairs, params: dict[str, int]) -> float:
    """Write the folder of the image tower; return its mean accuracy over the properties."""
    from shop.pretrain import pretrain_image
    from shop.towers import save_image_tower

    tower, accuracy = pretrain_image(pairs, params, params["seed"])
    save_image_tower(tower, folder, params["image_size"])
    return accuracy


def make_text_tower(folder: Path, pairs: Pairs, params: dict[str, int]) -> float:
    """Write the folder of the text tower; return its mean accuracy over the properties."""
    from shop.pretrain import pretrain_text
    from shop.towers import build_tokenizer, save_text_tower

    tokenizer = build_tokenizer(vocabulary())
    tower, accuracy = pretrain_text(pairs, tokenizer, params, params["seed"])
    tokenizer.no_truncation()
    save_text_tower(tower, tokenizer, folder)
    return accuracy


def main() -> None:
    """Write the folder `weights` from the params section of that name."""

    def make(out: Path, params: dict[str, int], jobs: int) -> None:
        accuracy = make_weights(out, params, jobs)
        write_line(f"accuracy over the properties: image {accuracy['image']:.2f}, text {accuracy['text']:.2f}")

    run_stage("weights", make)


if __name__ == "__main__":
    main()

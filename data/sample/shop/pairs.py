"""Draws the objects that the towers are pretrained on, with a caption and the properties of each.

It is separate from the pretraining, so that the drawing processes do not import torch.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from PIL import Image

from shop.goods import GOODS
from shop.items import sample_item
from shop.listing import write_caption
from shop.other_goods import OTHER_GOODS
from shop.other_shapes import OTHER_SHAPES
from shop.photos import Item, Pixels, draw_photo

Numbers = npt.NDArray[np.int64]
PROPERTIES = ("kind", "colour", "pattern", "second", "material", "build")
# How a caption mentions a category of the shop. A public text model knows such words too.
MENTIONS = {"en": ("{text} beside a {word}", "{word}, and {text}"), "zh": ("{text}，旁边是{word}", "{word}旁的{text}")}
# Pictures are drawn larger than the training size, as photos are.
DRAWN_SIZE = 96


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pictures (count, height, width, 3) as uint8, the text of each, and the number (count,) of each property's value.

    `mentioned` (count,) is the shop category that the text also names and that the picture does not show.
    """

    pixels: Pixels
    texts: list[str]
    properties: dict[str, Numbers]
    mentioned: Numbers


def draw_pair(kind: str, seed: tuple[int, ...], image_size: int) -> tuple[Pixels, str, Item, str]:
    """Return one object's picture (image_size, image_size, 3), text, properties and mentioned category."""
    goods = OTHER_GOODS[kind]
    item = sample_item(kind, goods.materials, seed)
    drawn = Image.fromarray(draw_photo(item, OTHER_SHAPES[kind], 0, (DRAWN_SIZE, DRAWN_SIZE)))
    rng = np.random.default_rng([*seed, 3])
    text, mentioned = mention(write_caption(item, goods.names, rng), rng)
    pixels = np.asarray(drawn.resize((image_size, image_size), Image.Resampling.BICUBIC))
    return pixels, text, item, mentioned


def mention(text: str, rng: np.random.Generator) -> tuple[str, str]:
    """Return the caption with a mention of a shop category in the same language, and that category."""
    language = "en" if text.isascii() else "zh"
    kind = str(rng.choice(list(GOODS)))
    word = str(rng.choice(getattr(GOODS[kind].names, language)))
    return MENTIONS[language][rng.integers(2)].format(text=text, word=word), kind


def draw_pairs(count: int, seed: int, image_size: int, num_jobs: int = 1) -> Pairs:
    """Return `count` objects, evenly over the categories; the pixels do not depend on the number of processes."""
    kinds = list(OTHER_GOODS)
    tasks = (delayed(draw_pair)(kinds[index % len(kinds)], (seed, index), image_size) for index in range(count))
    drawn = Parallel(n_jobs=num_jobs, batch_size=64)(tasks)
    properties: dict[str, Numbers] = {}
    for name in PROPERTIES:
        values = [str(getattr(item, name)) for _, _, item, _ in drawn]
        numbers = {value: number for number, value in enumerate(sorted(set(values)))}
        properties[name] = np.array([numbers[value] for value in values], dtype=np.int64)
    pixels, texts = np.stack([picture for picture, *_ in drawn]), [text for _, text, _, _ in drawn]
    order = list(GOODS)
    return Pairs(pixels, texts, properties, np.array([order.index(kind) for *_, kind in drawn], dtype=np.int64))

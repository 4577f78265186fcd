"""Draws the objects that the towers are pretrained on, with a caption and the properties of each.

Apart from the pretraining, so that the processes that draw never import torch.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from PIL import Image

from shop.goods import GOODS
from shop.items import deal_item
from shop.listing import write_caption
from shop.other_goods import OTHER_GOODS
from shop.other_shapes import OTHER_SHAPES
from shop.photos import Item, Pixels, draw_photo

Numbers = npt.NDArray[np.int64]
PROPERTIES = ("kind", "colour", "pattern", "second", "material", "build")
# How a caption names in passing something of the shop: a public text model has read such words, if seen no picture.
MENTIONS = {"en": ("{text} beside a {word}", "{word}, and {text}"), "zh": ("{text}，旁边是{word}", "{word}旁的{text}")}
# Drawn larger than trained on, as photos are.
DRAWN_SIZE = 96


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pictures (count, height, width, 3) as uint8, the text of each, and each property's value as a number (count,).

    `mentioned` (count,) is the shop's category that the text names beside the object, which the picture does not show.
    """

    pixels: Pixels
    texts: list[str]
    properties: dict[str, Numbers]
    mentioned: Numbers


def draw_pair(kind: str, seed: tuple[int, ...], image_size: int) -> tuple[Pixels, str, Item, str]:
    """Return one object's picture (image_size, image_size, 3), text, properties and the category it mentions."""
    goods = OTHER_GOODS[kind]
    item = deal_item(kind, goods.materials, seed)
    drawn = Image.fromarray(draw_photo(item, OTHER_SHAPES[kind], 0, (DRAWN_SIZE, DRAWN_SIZE)))
    rng = np.random.default_rng([*seed, 3])
    text, mentioned = mention(write_caption(item, goods.names, rng), rng)
    pixels = np.asarray(drawn.resize((image_size, image_size), Image.Resampling.BICUBIC))
    return pixels, text, item, mentioned


def mention(text: str, rng: np.random.Generator) -> tuple[str, str]:
    """Return a caption that also names something of the shop, in its own language, and the category of that."""
    language = "en" if text.isascii() else "zh"
    kind = str(rng.choice(list(GOODS)))
    word = str(rng.choice(getattr(GOODS[kind].names, language)))
    return MENTIONS[language][rng.integers(2)].format(text=text, word=word), kind


def draw_pairs(count: int, seed: int, image_size: int, num_jobs: int = 1) -> Pairs:
    """Return `count` objects, every category as often; the pixels do not depend on the number of processes."""
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

"""Filmstrips: the first clips of some queries, frame by frame, with the weight that the model gives each frame.

The frames of a clip are one picture in the page, which every query that finds the clip shows. A weight is a bar and a
number, so it needs no colour; all bars of the page have one scale, so that they compare.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from pipeline_lib.artifacts import paths
from pipeline_lib.loading.products import photo_key
from pipeline_lib.params.report import ReportParams
from pipeline_lib.report.gallery import Card, Gallery, Item, spread_sample
from pipeline_lib.report.headline import percent
from pipeline_lib.report.photos import Thumbnails
from pipeline_lib.stores.store import HEADER, FeatureStore, open_store
from pipeline_lib.transforms.decode import decode

MAX_QUERIES = 6  # a query shows five clips of many frames
MAX_FRAMES = 12  # of a longer clip, evenly spaced frames are shown
HEIGHT, QUALITY = 60, 70
WIDEST, NARROWEST = 1.8, 0.5  # aspect ratios of a frame in a strip; others are squeezed to these
Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One frame: its number from 1, its place in the clip's picture, its weight, and that relative to the largest."""

    number: int
    place: int
    weight: float | None = None
    height: float = 0.0

    @property
    def percent(self) -> str:
        """Return the weight in percent without the sign."""
        return "" if self.weight is None else f"{100 * self.weight:.0f}"


@dataclass(frozen=True)
class Film:
    """One clip among the results: the name of its picture, its frames, and the height of an even weight."""

    item: Item
    picture: str
    num_frames: int
    cells: list[Cell]
    even: float = 0.0

    @property
    def description(self) -> str:
        """Return the strip in words, for screen readers."""
        if not self.has_weights:
            return f"{len(self.cells)} of {self.num_frames} frames"
        return f"{len(self.cells)} of {self.num_frames} frames, with weights " + ", ".join(
            percent(cell.weight or 0.0) for cell in self.cells
        )

    @property
    def has_weights(self) -> bool:
        """Return whether the model gave weights."""
        return self.cells[0].weight is not None


@dataclass(frozen=True)
class FilmCard:
    """One query and the clips among its first results."""

    card: Card
    films: list[Film]


@dataclass(frozen=True)
class FilmView:
    """What the section shows: cards, the styles with the pictures, the largest weight (None without), and counts."""

    cards: list[FilmCard]
    styles: Markup
    largest: float | None
    num_models: int
    has_more_frames: bool


class FrameWeights:
    """The weights of frames in the stores of `embed`, by fold and image size; those of several models are averaged."""

    def __init__(self, root: Path, folds: Sequence[int], scales: Sequence[int]) -> None:
        self._stores: dict[int, list[FeatureStore]] = {}
        for fold in folds:
            folders = [root / paths.embed_of(fold, scale) / paths.FRAME_WEIGHTS for scale in scales]
            if opened := [open_store(folder) for folder in folders if (folder / HEADER).is_file()]:
                self._stores[fold] = opened

    def of(self, product_id: str, num_frames: int, fold: int | None) -> Weights | None:
        """Return the weights (frames,) by a fold's model, or by those of all folds; None without frame attention."""
        stores = [store for key, opened in self._stores.items() if fold in (None, key) for store in opened]
        if not stores:
            return None
        keys = [photo_key(product_id, frame) for frame in range(num_frames)]
        mean: Weights = np.mean([store.rows(keys)[:, 0].astype(np.float64) for store in stores], axis=0)
        return mean

    def num_models(self, fold: int | None) -> int:
        """Return how many models' weights `of` averages, image sizes of one model counting as one."""
        return len(self._stores) if fold is None else int(fold in self._stores)


def film_view(gallery: Gallery, params: ReportParams, photos: Thumbnails, weights: FrameWeights) -> FilmView | None:
    """Return the first clips of some of the gallery's queries; None if no result is a clip."""
    chosen = spread_sample(gallery.ranks, min(params.queries, MAX_QUERIES), params.seed)
    reels = Reels(photos)
    cards = []
    for card in gallery.cards(chosen):
        films = [film for item in card.items if (film := reels.film(item, weights, card.fold)) is not None]
        if films:
            cards.append(FilmCard(card, films))
    if not cards:
        return None
    all_films = [film for card in cards for film in card.films]
    known = [cell.weight for film in all_films for cell in film.cells if cell.weight is not None]
    largest = max(known, default=None)
    if largest:
        cards = [replace(card, films=[_scaled(film, largest) for film in card.films]) for card in cards]
    return FilmView(
        cards=cards,
        styles=Markup(reels.styles()),
        largest=largest,
        num_models=weights.num_models(cards[0].card.fold),
        has_more_frames=any(len(film.cells) < film.num_frames for film in all_films),
    )


class Reels:
    """The pictures of the clips on the page, each once, under the names of their CSS classes."""

    def __init__(self, photos: Thumbnails) -> None:
        self._photos = photos
        self._pictures: dict[str, tuple[str, str]] = {}

    def film(self, item: Item, weights: FrameWeights, fold: int | None) -> Film | None:
        """Return the strip of one result, None if it is no clip."""
        rows = self._photos.frames(item.product_id)
        if not rows:
            return None
        shown = shown_frames(len(rows))
        if item.product_id not in self._pictures:
            picture, ratio = reel([self._photos.read(rows[frame]) for frame in shown])
            uri = f"data:image/jpeg;base64,{b64encode(picture).decode('ascii')}"
            style = f"background-image:url({uri});--n:{len(shown)};--ratio:{ratio:.3f}"
            self._pictures[item.product_id] = (f"film-{len(self._pictures)}", style)
        own = weights.of(item.product_id, len(rows), fold)
        cells = [
            Cell(frame + 1, place, None if own is None else float(own[frame])) for place, frame in enumerate(shown)
        ]
        return Film(item, self._pictures[item.product_id][0], len(rows), cells)

    def styles(self) -> str:
        """Return a CSS rule for each picture."""
        return "\n".join(f".{name}{{{style}}}" for name, style in self._pictures.values())


def shown_frames(count: int) -> list[int]:
    """Return the frames of a clip that are shown: all, or MAX_FRAMES of them, evenly spaced from first to last.

    >>> shown_frames(3), shown_frames(24)
    ([0, 1, 2], [0, 2, 4, 6, 8, 10, 13, 15, 17, 19, 21, 23])
    """
    if count <= MAX_FRAMES:
        return list(range(count))
    return [round(frame) for frame in np.linspace(0, count - 1, MAX_FRAMES).tolist()]


def reel(frames: Sequence[bytes]) -> tuple[bytes, float]:
    """Return a JPEG of the encoded frames side by side, each HEIGHT pixels high, and the aspect ratio of one."""
    images = [decode(frame, HEIGHT) for frame in frames]
    ratio = min(WIDEST, max(NARROWEST, images[0].width / images[0].height))
    width = round(HEIGHT * ratio)
    picture = Image.new("RGB", (width * len(images), HEIGHT))
    for place, image in enumerate(images):
        picture.paste(image.resize((width, HEIGHT), Image.Resampling.LANCZOS), (place * width, 0))
    packed = BytesIO()
    picture.save(packed, "JPEG", quality=QUALITY, optimize=True)
    return packed.getvalue(), width / HEIGHT


def _scaled(film: Film, largest: float) -> Film:
    cells = [replace(cell, height=(cell.weight or 0.0) / largest) for cell in film.cells]
    return replace(film, cells=cells, even=1 / film.num_frames / largest)

"""Which towers there are; a tower's library is imported only when it is used, because each takes seconds.

The imports stand inside functions, where the import closure of a stage still finds them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline_lib.models.towers import Description, ImageTower, TextTower, TowerSource
from pipeline_lib.params.model import ImageTowerKind, ModelParams, TextTowerKind

TowerT = TypeVar("TowerT", ImageTower, TextTower)


@dataclass(frozen=True)
class Maker(Generic[TowerT]):
    """`resolve`: params -> description and first weights. `build`: description -> tower with random weights."""

    resolve: Callable[[ModelParams], TowerSource]
    build: Callable[[Description], TowerT]


def _timm() -> Maker[ImageTower]:
    from pipeline_lib.models.timm_tower import TimmTower, resolve_timm

    return Maker(resolve_timm, TimmTower)


def _hf() -> Maker[TextTower]:
    from pipeline_lib.models.hf_text_tower import HFTextTower, resolve_hf

    return Maker(resolve_hf, HFTextTower)


def _open_clip_image() -> Maker[ImageTower]:
    from pipeline_lib.models.open_clip_image import OpenClipImageTower, resolve_open_clip_image

    return Maker(resolve_open_clip_image, OpenClipImageTower)


def _open_clip_text() -> Maker[TextTower]:
    from pipeline_lib.models.open_clip_text import OpenClipTextTower, resolve_open_clip_text

    return Maker(resolve_open_clip_text, OpenClipTextTower)


# Kind -> function that imports the kind's library and returns its Maker.
IMAGE_TOWERS: dict[ImageTowerKind, Callable[[], Maker[ImageTower]]] = {"timm": _timm, "open_clip": _open_clip_image}
TEXT_TOWERS: dict[TextTowerKind, Callable[[], Maker[TextTower]]] = {"hf": _hf, "open_clip": _open_clip_text}


def resolve_towers(params: ModelParams) -> dict[str, TowerSource]:
    """Return both towers' sources, by name; the slow part of it is reading weights."""
    return {
        "image": IMAGE_TOWERS[params.image.kind]().resolve(params),
        "text": TEXT_TOWERS[params.text.kind]().resolve(params),
    }


def build_image_tower(description: Description) -> ImageTower:
    """Build an image tower with random weights."""
    kind: ImageTowerKind = description["kind"]
    return IMAGE_TOWERS[kind]().build(description)


def build_text_tower(description: Description) -> TextTower:
    """Build a text tower with random weights."""
    kind: TextTowerKind = description["kind"]
    return TEXT_TOWERS[kind]().build(description)

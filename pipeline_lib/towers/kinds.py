"""The kinds of towers. The library of a kind is imported only when a tower of it is built, because each takes seconds.

These imports are inside functions; the import closure of a stage includes them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from pipeline_lib.params.model import ImageSettings, ImageTowerKind, ModelParams, TextSettings, TextTowerKind
from pipeline_lib.towers.tower import Description, ImageTower, TextTower, Tower, TowerSource, config_errors
from pipeline_lib.towers.uninitialised import uninitialised
from pipeline_lib.towers.weights import load_strictly

SettingsT = TypeVar("SettingsT")
TowerT = TypeVar("TowerT")


@dataclass(frozen=True)
class TowerKind(Generic[SettingsT, TowerT]):
    """`resolve`: params -> description and pretrained weights. `build`: description -> tower with random weights."""

    resolve: Callable[[SettingsT], TowerSource]
    build: Callable[[Description], TowerT]


ImageKind = TowerKind[ImageSettings, ImageTower]
TextKind = TowerKind[TextSettings, TextTower]


def _timm() -> ImageKind:
    from pipeline_lib.towers.timm_tower import TimmTower, resolve_timm

    return TowerKind(resolve_timm, TimmTower)


def _hf() -> TextKind:
    from pipeline_lib.towers.hf_text_tower import HFTextTower, resolve_hf

    return TowerKind(resolve_hf, HFTextTower)


def _open_clip_image() -> ImageKind:
    from pipeline_lib.towers.open_clip_image import OpenClipImageTower, resolve_open_clip_image

    return TowerKind(resolve_open_clip_image, OpenClipImageTower)


def _open_clip_text() -> TextKind:
    from pipeline_lib.towers.open_clip_text import OpenClipTextTower, resolve_open_clip_text

    return TowerKind(resolve_open_clip_text, OpenClipTextTower)


def _blip2_image() -> ImageKind:
    from pipeline_lib.towers.blip2_image import Blip2ImageTower, resolve_blip2

    return TowerKind(resolve_blip2, Blip2ImageTower)


# Name -> function that imports the library of the kind and returns the TowerKind.
IMAGE_TOWERS: dict[ImageTowerKind, Callable[[], ImageKind]] = {
    "timm": _timm,
    "open_clip": _open_clip_image,
    "blip2": _blip2_image,
}
TEXT_TOWERS: dict[TextTowerKind, Callable[[], TextKind]] = {"hf": _hf, "open_clip": _open_clip_text}


def resolve_towers(params: ModelParams) -> dict[str, TowerSource]:
    """Return both towers' sources, with their pretrained weights, by name."""
    return {"image": resolve_image_tower(params), "text": resolve_text_tower(params)}


def resolve_image_tower(params: ImageSettings) -> TowerSource:
    """Return an image tower's source, with its pretrained weights."""
    kind = IMAGE_TOWERS[params.image.kind]()
    with config_errors(f"model.image.name = {params.image.name!r}"):
        return kind.resolve(params)


def resolve_text_tower(params: TextSettings) -> TowerSource:
    """Return a text tower's source, with its pretrained weights."""
    kind = TEXT_TOWERS[params.text.kind]()
    with config_errors(f"model.text.name = {params.text.name!r}"):
        return kind.resolve(params)


def encoder_names(image: Description, text: Description) -> str:
    """Return the architectures of two towers in words, for a line on what runs."""
    seeing = image.get("architecture", image["kind"])
    reading = text.get("config", {}).get("model_type", text["kind"])
    return f"{seeing} (photos, {image['size']} px) and {reading} (texts, {text['max_tokens']} tokens)"


def build_image_tower(description: Description) -> ImageTower:
    """Build an image tower with random weights."""
    kind: ImageTowerKind = description["kind"]
    return IMAGE_TOWERS[kind]().build(description)


def build_text_tower(description: Description) -> TextTower:
    """Build a text tower with random weights."""
    kind: TextTowerKind = description["kind"]
    return TEXT_TOWERS[kind]().build(description)


def untrained_image_tower(source: TowerSource, device: str) -> ImageTower:
    """Return an image tower before training, in evaluation mode on a device."""
    with _before_loading(source):
        tower = build_image_tower(source.description)
    _load_untrained(tower, source, device)
    return tower


def untrained_text_tower(source: TowerSource, device: str) -> TextTower:
    """Return a text tower before training, in evaluation mode on a device."""
    with _before_loading(source):
        tower = build_text_tower(source.description)
    _load_untrained(tower, source, device)
    return tower


@contextmanager
def _before_loading(source: TowerSource) -> Iterator[None]:
    """Build a tower inside whose weights are loaded next.

    What the source does not have is drawn from a seed: each process gives a tower with random weights the same, so
    stores and search fit.
    """
    with torch.random.fork_rng(devices=[]), uninitialised() if source.is_complete else nullcontext():
        torch.manual_seed(0)
        yield


def _load_untrained(tower: Tower, source: TowerSource, device: str) -> None:
    if source.state is not None:
        load_strictly(tower, source.state, str(source.weights), source.new)
    tower.eval().to(device)

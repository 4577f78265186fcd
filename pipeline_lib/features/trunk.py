"""What the towers make of every photo and every distinct text before training changes anything, computed once.

Pooled features stand in for a tower that is frozen altogether, activations at a boundary for one of which no more than
the last layer groups are trained; so a sweep over heads, losses and learning rates never runs the frozen part again.
The stores name the towers' weights, the view and the split, and refuse any other.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.features.activations import ActivationStore, ActivationWriter, open_activations
from pipeline_lib.features.batches import PhotoViews, in_order
from pipeline_lib.features.encode import Array, Engine, encode_photos
from pipeline_lib.features.products import photo_key, text_key
from pipeline_lib.features.splits import Split, check_size, split_of
from pipeline_lib.features.store import HEADER, IDS, FeatureStore, MatrixWriter, open_store
from pipeline_lib.files import Place, copy_of
from pipeline_lib.models.tower_kinds import build_image_tower, build_text_tower
from pipeline_lib.models.towers import ImageTower, TextTower, Tower, TowerSource, fingerprint, load_strictly
from pipeline_lib.provenance import digest_value
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.transforms.image import preprocessing_fingerprint
from pipeline_lib.transforms.tokenize import TextTokenizer

BOUNDARY = "-boundary"  # behind a tower's name: the folder of its activations


def extract_trunk(
    sources: dict[str, TowerSource],
    reader: ShardReader,
    photos: pl.DataFrame,
    texts: list[str],
    out: Path,
    engine: Engine,
    dtype: str,
    layers: int = 0,
    max_gb: float = float("inf"),
    tell: Callable[[str], object] | None = None,
) -> None:
    """Write `out`/image (an item a photo of the manifest) and `out`/text (an item a distinct text), if storable.

    With `layers`, what enters the last so many groups of each tower is stored beside them. ValueError, before a tower
    is run over the catalogue, if that would take more than `max_gb` 1e9 bytes; else `tell` hears what it will take.
    """
    image, text = build_image_tower(sources["image"].description), build_text_tower(sources["text"].description)
    for tower, source in ((image, sources["image"]), (text, sources["text"])):
        _fill(tower, source, engine.device)
    views = PhotoViews(reader, sources["image"].description["size"])
    distinct = _Texts(sources["text"], sorted(set(texts)), engine)
    with torch.inference_mode():
        splits = {
            "image": split_of("image", image, sources["image"], layers, lambda behind: _dry(image, behind, views.size)),
            "text": split_of("text", text, sources["text"], layers, lambda behind: _dry_text(text, behind)),
        }
    cells = len(photos) * int(np.prod(splits["image"].shape[:-1]))
    tokens = {"image": cells, "text": distinct.count_tokens() if splits["text"].groups_behind else 0}
    told = check_size(splits, {"image": len(photos), "text": len(distinct.texts)}, tokens, dtype, max_gb)
    if tell is not None:
        tell("\n".join(told))

    keys = [photo_key(key, photo) for key, photo in photos.select("product_id", "photo").iter_rows()]
    for name, blocks, count in (
        ("image", _photo_blocks(image, splits["image"], views, keys, engine), len(keys)),
        ("text", distinct.blocks(text, splits["text"]), len(distinct.texts)),
    ):
        if splits[name].pooled or splits[name].groups_behind:
            stores = _Stores(out, name, splits[name], count, tokens[name], dtype)
            for block in blocks:
                stores.write(*block)
            stores.close(*maker_of(name, sources[name]))


def _fill(tower: Tower, source: TowerSource, device: str) -> None:
    if source.state is not None:
        load_strictly(tower, source.state, str(source.weights), source.new)
    tower.eval().to(device)


def _dry(tower: ImageTower, groups_behind: int, size: int) -> Tensor:
    return tower.enter(torch.zeros(1, 3, size, size, dtype=torch.uint8), groups_behind)


def _dry_text(tower: TextTower, groups_behind: int) -> Tensor:
    ids = torch.zeros(1, 2, dtype=torch.long, device=next(tower.parameters()).device)
    return tower.enter(ids, torch.ones_like(ids, dtype=torch.bool), groups_behind)


# Ids, what `_beside` makes of the items, the mask of texts.
Block = tuple[list[str], Array, NDArray[np.bool_] | None]


def _beside(entering: Tensor, pooled: Tensor) -> Tensor:
    """Return both as one matrix (items, cells + dim): one forward pass gives both, and an engine gives one tensor."""
    return torch.cat([entering.flatten(1).float(), pooled.float()], dim=1)


def _photo_blocks(
    tower: ImageTower, split: Split, views: PhotoViews, keys: list[str], engine: Engine
) -> Iterator[Block]:
    def run(pixels: Tensor, _positions: Tensor) -> Tensor:
        entering = tower.enter(pixels, split.groups_behind)
        return _beside(entering, tower.leave(entering, split.groups_behind))

    for start, block in encode_photos(run, views, np.arange(len(keys)), engine):
        yield keys[start : start + len(block)], block.cpu().numpy(), None


class _Texts:
    """Distinct texts, encoded batch by batch of about one length, so that little is padding."""

    def __init__(self, source: TowerSource, texts: list[str], engine: Engine) -> None:
        self.texts = texts
        self.engine = engine
        self._tokenizer = TextTokenizer(source.description["tokenizer"])
        self._max_tokens = source.description["max_tokens"]
        self._order = np.argsort([len(text) for text in texts], kind="stable")

    def _tokenized(self) -> Iterator[tuple[list[str], Tensor, Tensor]]:
        for _, rows in in_order(len(self._order), self.engine.batch_size):
            texts = [self.texts[row] for row in self._order[rows]]
            ids, mask = self._tokenizer.encode_batch(texts, self._max_tokens)
            yield texts, torch.as_tensor(ids), torch.as_tensor(mask)

    def count_tokens(self) -> int:
        """Return the tokens of all texts, none of them padding."""
        return sum(int(mask.sum()) for _, _, mask in self._tokenized())

    def blocks(self, tower: TextTower, split: Split) -> Iterator[Block]:
        """Yield what the tower makes of the texts, as `_Stores.write` takes it."""

        def run(ids: Tensor, mask: Tensor) -> Tensor:
            entering = tower.enter(ids, mask, split.groups_behind)
            return _beside(entering, tower.leave(entering, mask, split.groups_behind))

        for texts, ids, mask in self._tokenized():
            block = self.engine.run(run, ids, mask)
            yield [text_key(text) for text in texts], block.cpu().numpy(), mask.numpy()


class _Stores:
    """The store of a tower's output and that of its activations, each if it is wanted, written side by side."""

    def __init__(self, out: Path, name: str, split: Split, count: int, tokens: int, dtype: str) -> None:
        self.split = split
        self.ids: list[str] = []
        self.pooled = MatrixWriter(out / name, count, split.dim, dtype) if split.pooled else None
        self.entering: ActivationWriter | None = None
        if split.groups_behind:
            self.entering = ActivationWriter(out / f"{name}{BOUNDARY}", tokens, split.shape[-1], dtype)

    def write(self, ids: Sequence[str], both: Array, mask: NDArray[np.bool_] | None) -> None:
        """Take in a block of items: `both` is what `_beside` makes, `mask` (items, longest) that of texts."""
        inside, pooled = np.split(both, [both.shape[1] - self.split.dim], axis=1)
        if self.pooled is not None:
            self.pooled.write(len(self.ids), pooled)
        if self.entering is not None:
            self.entering.write(ids, inside.reshape(len(ids), -1, self.split.shape[-1]), mask)
        self.ids += ids

    def close(self, encoder: str, preprocessing: str) -> None:
        """Write ids and headers."""
        if self.pooled is not None:
            self.pooled.close(self.ids, encoder, preprocessing)
        if self.entering is not None:
            self.entering.close(encoder, preprocessing, self.split)


def view_fingerprint(source: TowerSource) -> str:
    """Return the identity of the fixed view that an image tower sees."""
    size, mean, std = (source.description[key] for key in ("size", "mean", "std"))
    return preprocessing_fingerprint(size, mean, std)


def text_fingerprint(source: TowerSource) -> str:
    """Return the identity of what a text tower is fed."""
    return digest_value([source.description[key] for key in ("tokenizer", "max_tokens")])


def maker_of(name: str, source: TowerSource) -> tuple[str, str]:
    """Return (encoder, preprocessing) as the headers of a tower's stores name them."""
    return fingerprint(source), (view_fingerprint if name == "image" else text_fingerprint)(source)


def open_pooled(folder: Path, name: str, source: TowerSource, url: str | None = None) -> FeatureStore | None:
    """Open the store of a tower's output, None if there is none; ValueError if another tower or view made it.

    `url` is that of a copy of data/work/features, which is read instead where it is given.
    """
    kept = folder / name
    return open_store(_place(kept, url), *maker_of(name, source)) if kept.is_dir() else None


def open_boundary(folder: Path, name: str, source: TowerSource, url: str | None = None) -> ActivationStore | None:
    """Open the store of a tower's activations, as `open_pooled` that of its output."""
    kept = folder / f"{name}{BOUNDARY}"
    return open_activations(_place(kept, url), *maker_of(name, source)) if kept.is_dir() else None


def _place(kept: Path, url: str | None) -> Place:
    return copy_of(kept, url and f"{url.rstrip('/')}/{kept.parent.name}/{kept.name}", (HEADER, IDS))

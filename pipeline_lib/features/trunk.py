"""What the towers make of every photo and every distinct text before training changes anything, computed once.

Pooled features stand in for a tower that is frozen altogether, activations at a boundary for one of which no more than
the last layer groups are trained; so a sweep over heads, losses and learning rates never runs the frozen part again.
For runs with augmentation some drawn views of each photo are kept too. The stores name the towers' weights, the view
and the split, and refuse any other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.features.boundaries import find_boundary
from pipeline_lib.features.progress import Progress
from pipeline_lib.features.tower_stores import TowerStores, maker_of
from pipeline_lib.inference.engine import Array, InferenceEngine, encode_photos, in_turns
from pipeline_lib.loading.dataset import sequential_batches
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.models.tower_kinds import build_image_tower, build_text_tower
from pipeline_lib.models.towers import ImageTower, TextTower, Tower, TowerSource, load_strictly
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.stores.boundary import TowerBoundary, check_size
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.transforms.tokenize import TextTokenizer


def extract_trunk(
    sources: dict[str, TowerSource],
    reader: ShardReader,
    photos: pl.DataFrame,
    texts: list[str],
    out: Path,
    engine: InferenceEngine,
    dtype: str,
    layers: int = 0,
    max_gb: float = float("inf"),
    tell: Callable[[str], object] | None = None,
    marks: Path | None = None,
    drawn: DrawnViews | None = None,
) -> None:
    """Write `out`/image (an item a photo of the manifest) and `out`/text (an item a distinct text), if storable.

    With `layers`, what enters the last so many groups of each tower is stored beside them, and with `drawn` the same of
    those views of each photo, in stores of their own. ValueError, before a tower is run over the catalogue, if that
    would take more than `max_gb` 1e9 bytes; else `tell` hears what it will take. With a folder `marks`, a run that was
    killed goes on where its marks there say. Of several processes all must call this, and the first one tells and
    writes.
    """
    image, text = build_image_tower(sources["image"].description), build_text_tower(sources["text"].description)
    for tower, source in ((image, sources["image"]), (text, sources["text"])):
        _fill(tower, source, engine.device)
    engine = engine.settled(image, text)
    size = sources["image"].description["size"]
    distinct = _Texts(sources["text"], sorted(set(texts)), engine)
    with torch.inference_mode():
        splits = {
            "image": find_boundary("image", image, sources["image"], layers, lambda behind: _dry(image, behind, size)),
            "text": find_boundary("text", text, sources["text"], layers, lambda behind: _dry_text(text, behind)),
        }
    cells = len(photos) * int(np.prod(splits["image"].shape[:-1]))
    tokens = {"image": cells, "text": 0}
    if splits["text"].num_suffix_groups:
        tokens["text"] = engine.processes.broadcast_from_first(distinct.count_tokens)
    told = check_size(splits, {"image": len(photos), "text": len(distinct.texts)}, tokens, dtype, max_gb, drawn)
    tell = tell if engine.processes.is_first else None
    if tell is not None:
        tell("\n".join(told))

    keys = [photo_key(key, photo) for key, photo in photos.select("product_id", "photo").iter_rows()]
    stored = _Photos(reader, keys, image, sources["image"], splits["image"], tokens["image"], dtype)
    for views in (None, drawn) if drawn else (None,):
        stored.write(out, views, engine, marks, tell)
    # Texts are encoded in the time of a few hundred photos: they begin anew.
    stores = TowerStores(out, "text", splits["text"], len(distinct.texts), tokens["text"], dtype)
    if stores.wanted:
        _write(stores, [], distinct.blocks(text, splits["text"]), maker_of("text", sources["text"]), engine)


def _fill(tower: Tower, source: TowerSource, device: str) -> None:
    if source.state is not None:
        load_strictly(tower, source.state, str(source.weights), source.new)
    tower.eval().to(device)


def _dry(tower: ImageTower, num_suffix_groups: int, size: int) -> Tensor:
    return tower.forward_prefix(torch.zeros(1, 3, size, size, dtype=torch.uint8), num_suffix_groups)


def _dry_text(tower: TextTower, num_suffix_groups: int) -> Tensor:
    ids = torch.zeros(1, 2, dtype=torch.long, device=next(tower.parameters()).device)
    return tower.forward_prefix(ids, torch.ones_like(ids, dtype=torch.bool), num_suffix_groups)


# Ids (a photo's for each of its views), what `_beside` makes of the items, the mask of texts.
Block = tuple[list[str], Array, NDArray[np.bool_] | None]


def _beside(entering: Tensor, pooled: Tensor) -> Tensor:
    """Return both as one matrix (items, cells + dim): one forward pass gives both, and an engine gives one tensor."""
    return torch.cat([entering.flatten(1).float(), pooled.float()], dim=1)


@dataclass(frozen=True)
class _Photos:
    """All photos of the manifest, by their keys, and the tower that is run over them."""

    reader: ShardReader
    keys: list[str]
    tower: ImageTower
    source: TowerSource
    split: TowerBoundary
    tokens: int
    dtype: str

    def write(
        self, out: Path, drawn: DrawnViews | None, engine: InferenceEngine, marks: Path | None,
        tell: Callable[[str], object] | None,
    ) -> None:  # fmt: skip
        """Write the stores of the fixed view, or those of drawn ones, going on behind what is marked."""
        each, what = (drawn.count, "image views") if drawn else (1, "image")
        count = len(self.keys) * each
        made_by = maker_of("image", self.source, drawn)
        stores = TowerStores(out, "image", self.split, len(self.keys), self.tokens, self.dtype, drawn)
        if not stores.wanted:
            return
        mark = marks and marks / f"{what.replace(' ', '-')}.json"
        progress = Progress(mark, np.repeat(self.reader.manifest.tar, each), made_by)
        start = engine.processes.broadcast_from_first(lambda: progress.resume(stores.held))
        if start and tell is not None:
            tell(f"{what}: goes on behind {start} of {count} {'views' if drawn else 'photos'}, which are stored")
        items = np.arange(start, count)
        stored = [self.keys[item // each] for item in range(start)]
        _write(stores, stored, self._blocks(items, drawn, engine), made_by, engine, progress)

    def _blocks(self, items: NDArray[np.int64], drawn: DrawnViews | None, engine: InferenceEngine) -> Iterator[Block]:
        def run(pixels: Tensor, _positions: Tensor) -> Tensor:
            entering = self.tower.forward_prefix(pixels, self.split.num_suffix_groups)
            return _beside(entering, self.tower.forward_suffix(entering, self.split.num_suffix_groups))

        size = self.source.description["size"]
        views = PhotoViews(self.reader, size, drawn.augment, drawn.crop_scale or 1.0) if drawn else None
        for start, block in encode_photos(run, views or PhotoViews(self.reader, size), items, engine, drawn):
            photos = items[start : start + len(block)] // (drawn.count if drawn else 1)
            yield [self.keys[photo] for photo in photos], block.cpu().numpy(), None


class _Texts:
    """Distinct texts, encoded batch by batch of about one length, so that little is padding."""

    def __init__(self, source: TowerSource, texts: list[str], engine: InferenceEngine) -> None:
        self.texts = texts
        self.engine = engine
        self._tokenizer = TextTokenizer(source.description["tokenizer"])
        self._max_tokens = source.description["max_tokens"]
        self._order = np.argsort([len(text) for text in texts], kind="stable")

        self._rows = sequential_batches(len(texts), engine.batch_size)

    def _tokenized(self, number: int) -> tuple[list[str], Tensor, Tensor]:
        texts = [self.texts[row] for row in self._order[self._rows[number][1]]]
        ids, mask = self._tokenizer.encode_batch(texts, self._max_tokens)
        return texts, torch.as_tensor(ids), torch.as_tensor(mask)

    def count_tokens(self) -> int:
        """Return the tokens of all texts, none of them padding."""
        return sum(int(self._tokenized(number)[2].sum()) for number in range(len(self._rows)))

    def blocks(self, tower: TextTower, split: TowerBoundary) -> Iterator[Block]:
        """Yield what the tower makes of the texts, as `TowerStores.write` takes it, on the first of all processes."""

        def run(ids: Tensor, mask: Tensor) -> Tensor:
            entering = tower.forward_prefix(ids, mask, split.num_suffix_groups)
            return _beside(entering, tower.forward_suffix(entering, mask, split.num_suffix_groups))

        def make(number: int) -> Block:
            texts, ids, mask = self._tokenized(number)
            block = self.engine.run(run, ids, mask)
            return [text_key(text) for text in texts], block.cpu().numpy(), mask.numpy()

        return in_turns(len(self._rows), make, self.engine.processes)


def _write(
    stores: TowerStores, stored: list[str], blocks: Iterator[Block], made_by: tuple[str, str], engine: InferenceEngine,
    progress: Progress | None = None,
) -> None:  # fmt: skip
    """Write blocks behind what is `stored`; of several processes the first one alone has files, and is given blocks."""
    if engine.processes.is_first:
        stores.begin(stored)
    for block in blocks:
        stores.write(*block)
        if progress is not None:
            progress.mark(len(stores.ids), stores.flush)
    if engine.processes.is_first:
        stores.close(*made_by)

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
from pipeline_lib.features.encode import Array, Engine, encode_photos, in_turns
from pipeline_lib.features.products import photo_key, text_key
from pipeline_lib.features.progress import Progress
from pipeline_lib.features.splits import Split, check_size, split_of
from pipeline_lib.features.store import HEADER, IDS, FeatureStore, MatrixWriter, holds_matrix, open_store
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
    marks: Path | None = None,
) -> None:
    """Write `out`/image (an item a photo of the manifest) and `out`/text (an item a distinct text), if storable.

    With `layers`, what enters the last so many groups of each tower is stored beside them. ValueError, before a tower
    is run over the catalogue, if that would take more than `max_gb` 1e9 bytes; else `tell` hears what it will take.
    With a folder `marks`, a run that was killed goes on where its marks there say. Of several processes all must call
    this, and the first one tells and writes.
    """
    image, text = build_image_tower(sources["image"].description), build_text_tower(sources["text"].description)
    for tower, source in ((image, sources["image"]), (text, sources["text"])):
        _fill(tower, source, engine.device)
    engine = engine.settled(image, text)
    views = PhotoViews(reader, sources["image"].description["size"])
    distinct = _Texts(sources["text"], sorted(set(texts)), engine)
    with torch.inference_mode():
        splits = {
            "image": split_of("image", image, sources["image"], layers, lambda behind: _dry(image, behind, views.size)),
            "text": split_of("text", text, sources["text"], layers, lambda behind: _dry_text(text, behind)),
        }
    cells = len(photos) * int(np.prod(splits["image"].shape[:-1]))
    tokens = {"image": cells, "text": 0}
    if splits["text"].groups_behind:
        tokens["text"] = engine.processes.from_first(distinct.count_tokens)
    told = check_size(splits, {"image": len(photos), "text": len(distinct.texts)}, tokens, dtype, max_gb)
    tell = tell if engine.processes.first else None
    if tell is not None:
        tell("\n".join(told))

    keys = [photo_key(key, photo) for key, photo in photos.select("product_id", "photo").iter_rows()]
    made_by = maker_of("image", sources["image"])
    stores = _Stores(out, "image", splits["image"], len(keys), tokens["image"], dtype)
    progress = Progress(marks and marks / "image.json", reader.manifest.tar, made_by)
    if stores.wanted:
        start = engine.processes.from_first(lambda: progress.resume(stores.held))
        if start and tell is not None:
            tell(f"image: goes on behind {start} of {len(keys)} photos, which are stored")
        blocks = _photo_blocks(image, splits["image"], views, keys, engine, start)
        _write(stores, keys[:start], blocks, made_by, engine, progress)
    # Texts are encoded in the time of a few hundred photos: they begin anew.
    stores = _Stores(out, "text", splits["text"], len(distinct.texts), tokens["text"], dtype)
    if stores.wanted:
        _write(stores, [], distinct.blocks(text, splits["text"]), maker_of("text", sources["text"]), engine)


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
    tower: ImageTower, split: Split, views: PhotoViews, keys: list[str], engine: Engine, begin: int
) -> Iterator[Block]:
    def run(pixels: Tensor, _positions: Tensor) -> Tensor:
        entering = tower.enter(pixels, split.groups_behind)
        return _beside(entering, tower.leave(entering, split.groups_behind))

    for start, block in encode_photos(run, views, np.arange(begin, len(keys)), engine):
        yield keys[begin + start : begin + start + len(block)], block.cpu().numpy(), None


class _Texts:
    """Distinct texts, encoded batch by batch of about one length, so that little is padding."""

    def __init__(self, source: TowerSource, texts: list[str], engine: Engine) -> None:
        self.texts = texts
        self.engine = engine
        self._tokenizer = TextTokenizer(source.description["tokenizer"])
        self._max_tokens = source.description["max_tokens"]
        self._order = np.argsort([len(text) for text in texts], kind="stable")

        self._rows = in_order(len(texts), engine.batch_size)

    def _tokenized(self, number: int) -> tuple[list[str], Tensor, Tensor]:
        texts = [self.texts[row] for row in self._order[self._rows[number][1]]]
        ids, mask = self._tokenizer.encode_batch(texts, self._max_tokens)
        return texts, torch.as_tensor(ids), torch.as_tensor(mask)

    def count_tokens(self) -> int:
        """Return the tokens of all texts, none of them padding."""
        return sum(int(self._tokenized(number)[2].sum()) for number in range(len(self._rows)))

    def blocks(self, tower: TextTower, split: Split) -> Iterator[Block]:
        """Yield what the tower makes of the texts, as `_Stores.write` takes it, on the first of all processes."""

        def run(ids: Tensor, mask: Tensor) -> Tensor:
            entering = tower.enter(ids, mask, split.groups_behind)
            return _beside(entering, tower.leave(entering, mask, split.groups_behind))

        def make(number: int) -> Block:
            texts, ids, mask = self._tokenized(number)
            block = self.engine.run(run, ids, mask)
            return [text_key(text) for text in texts], block.cpu().numpy(), mask.numpy()

        return in_turns(len(self._rows), make, self.engine.processes)


class _Stores:
    """The store of a tower's output and that of its activations, each if it is wanted, written side by side."""

    def __init__(self, out: Path, name: str, split: Split, count: int, tokens: int, dtype: str) -> None:
        self.split = split
        self.dtype = dtype
        self.ids: list[str] = []
        self.pooled: MatrixWriter | None = None
        self.entering: ActivationWriter | None = None
        self._pooled = (out / name, count, split.dim)
        self._entering = (out / f"{name}{BOUNDARY}", tokens, split.shape[-1]) if split.groups_behind else None

    @property
    def wanted(self) -> bool:
        """Tell whether anything is to be stored."""
        return self.split.pooled or self._entering is not None

    def held(self) -> bool:
        """Tell whether files of the right sizes are there, so that they can be written on."""
        wanted = [self._pooled] if self.split.pooled else []
        wanted += [self._entering] if self._entering is not None else []
        return all(holds_matrix(*sizes, self.dtype) for sizes in wanted)

    def begin(self, stored: list[str]) -> None:
        """Make the files, or open those that are there and hold the photos `stored` already."""
        self.ids = list(stored)
        if self.split.pooled:
            self.pooled = MatrixWriter(*self._pooled, self.dtype, keep=bool(stored))
        if self._entering is not None:
            each = int(np.prod(self.split.shape[:-1]))
            self.entering = ActivationWriter(*self._entering, self.dtype, stored, each)

    def write(self, ids: Sequence[str], both: Array, mask: NDArray[np.bool_] | None) -> None:
        """Take in a block of items: `both` is what `_beside` makes, `mask` (items, longest) that of texts."""
        inside, pooled = np.split(both, [both.shape[1] - self.split.dim], axis=1)
        if self.pooled is not None:
            self.pooled.write(len(self.ids), pooled)
        if self.entering is not None:
            self.entering.write(ids, inside.reshape(len(ids), -1, self.split.shape[-1]), mask)
        self.ids += ids

    def flush(self) -> None:
        """Have what was written on the disk."""
        for writer in (self.pooled, self.entering):
            if writer is not None:
                writer.flush()

    def close(self, encoder: str, preprocessing: str) -> None:
        """Write ids and headers."""
        if self.pooled is not None:
            self.pooled.close(self.ids, encoder, preprocessing)
        if self.entering is not None:
            self.entering.close(encoder, preprocessing, self.split)


def _write(
    stores: _Stores, stored: list[str], blocks: Iterator[Block], made_by: tuple[str, str], engine: Engine,
    progress: Progress | None = None,
) -> None:  # fmt: skip
    """Write blocks behind what is `stored`; of several processes the first one alone has files, and is given blocks."""
    if engine.processes.first:
        stores.begin(stored)
    for block in blocks:
        stores.write(*block)
        if progress is not None:
            progress.mark(len(stores.ids), stores.flush)
    if engine.processes.first:
        stores.close(*made_by)


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

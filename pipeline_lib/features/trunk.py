"""The towers' features of every photo and every distinct text before training, computed once.

Pooled features replace a tower that stays frozen. Activations at a boundary replace the layers before it, for a tower
of which only the last layer groups are trained. So a sweep over heads, losses and learning rates never runs the frozen
layers. For runs with augmentation, some augmented views of each photo are stored as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.features.boundaries import find_boundary
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.progress import Progress
from pipeline_lib.features.tower_stores import TowerStores, origin_of
from pipeline_lib.inference.engine import Array, InferenceEngine, encode_photos, round_robin
from pipeline_lib.loading.dataset import sequential_batches
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.models.tower_kinds import build_image_tower, build_text_tower
from pipeline_lib.models.towers import ImageTower, TextTower, Tower, TowerSource
from pipeline_lib.models.weights import load_strictly
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.stores.boundary import ItemCounts, TowerBoundary, check_size
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.transforms.image import Resizing
from pipeline_lib.transforms.tokenize import TextTokenizer

# Ids (the photo's id for each of its views), values as `_concatenated` returns them, and for texts the mask.
Block = tuple[list[str], Array, NDArray[np.bool_] | None]


@dataclass(frozen=True)
class TrunkOptions:
    """What is stored beside the outputs: the input of the last `layers` layer groups, and `drawn` views of each photo.

    `max_gb` limits the size of all stores, in 1e9 bytes.
    """

    layers: int = 0
    max_gb: float = float("inf")
    drawn: DrawnViews | None = None


def extract_trunk(
    sources: dict[str, TowerSource],
    inputs: ExtractionInputs,
    out: Path,
    run: ExtractionRun,
    options: TrunkOptions | None = None,
) -> None:
    """Write the stores `out`/image (an item per photo) and `out`/text (an item per distinct text), if possible.

    Activations and drawn views have stores of their own. ValueError, before a tower runs over the catalogue, if the
    stores would be larger than the limit. In a process group every rank must call this; rank 0 writes.
    """
    options = options or TrunkOptions()
    image, text = build_image_tower(sources["image"].description), build_text_tower(sources["text"].description)
    for tower, source in ((image, sources["image"]), (text, sources["text"])):
        _load_weights(tower, source, run.engine.device)
    engine = run.engine.for_modules(image, text)
    keys = [photo_key(key, photo) for key, photo in inputs.photos.select("product_id", "photo").iter_rows()]
    texts = _Texts(sources["text"], sorted(set(inputs.texts)), engine)
    boundaries = _find_boundaries(image, text, sources, options.layers)
    counts = _count_items(boundaries, len(keys), texts, engine)
    run.report("\n".join(check_size(boundaries, counts, run.dtype, options.max_gb, options.drawn)))

    photos = _Photos(inputs.reader, keys, image, sources["image"], boundaries["image"], counts["image"])
    for drawn in (None, options.drawn) if options.drawn else (None,):
        photos.write(out, drawn, run, engine)
    # All texts take as long as a few hundred photos, so they are not resumed.
    stores = TowerStores(out, "text", boundaries["text"], counts["text"], run.dtype)
    if not stores.is_empty:
        origin = origin_of("text", sources["text"])
        _write(stores, [], texts.blocks(text, boundaries["text"]), origin, engine)


def _load_weights(tower: Tower, source: TowerSource, device: str) -> None:
    if source.state is not None:
        load_strictly(tower, source.state, str(source.weights), source.new)
    tower.eval().to(device)


def _find_boundaries(
    image: ImageTower, text: TextTower, sources: dict[str, TowerSource], layers: int
) -> dict[str, TowerBoundary]:
    size = sources["image"].description["size"]

    def run_image(num_suffix_groups: int) -> Tensor:
        return image.forward_prefix(torch.zeros(1, 3, size, size, dtype=torch.uint8), num_suffix_groups)

    def run_text(num_suffix_groups: int) -> Tensor:
        ids = torch.zeros(1, 2, dtype=torch.long, device=next(text.parameters()).device)
        return text.forward_prefix(ids, torch.ones_like(ids, dtype=torch.bool), num_suffix_groups)

    with torch.inference_mode():
        return {
            "image": find_boundary("image", image, sources["image"], layers, run_image),
            "text": find_boundary("text", text, sources["text"], layers, run_text),
        }


def _count_items(
    boundaries: dict[str, TowerBoundary], num_photos: int, texts: "_Texts", engine: InferenceEngine
) -> dict[str, ItemCounts]:
    tokens = 0
    if boundaries["text"].num_suffix_groups:
        tokens = engine.processes.broadcast_from_first(texts.count_tokens)
    cells = int(np.prod(boundaries["image"].shape[:-1]))
    return {"image": ItemCounts(num_photos, num_photos * cells), "text": ItemCounts(len(texts.texts), tokens)}


def _concatenated(activations: Tensor, pooled: Tensor) -> Tensor:
    """Return (items, activations + dim): one forward pass computes both, and an engine returns one tensor."""
    return torch.cat([activations.flatten(1).float(), pooled.float()], dim=1)


@dataclass(frozen=True)
class _Photos:
    """All photos of the manifest, by their keys, and the tower that runs over them."""

    reader: ShardReader
    keys: list[str]
    tower: ImageTower
    source: TowerSource
    boundary: TowerBoundary
    counts: ItemCounts

    def write(self, out: Path, drawn: DrawnViews | None, run: ExtractionRun, engine: InferenceEngine) -> None:
        """Write the stores of the fixed view or of drawn views; resume after the last completed shard."""
        views_per_photo, what = (drawn.count, "image views") if drawn else (1, "image")
        stores = TowerStores(out, "image", self.boundary, self.counts, run.dtype, drawn)
        if stores.is_empty:
            return
        count, origin = len(self.keys) * views_per_photo, origin_of("image", self.source, drawn)
        path = run.progress and run.progress / f"{what.replace(' ', '-')}.json"
        progress = Progress(path, np.repeat(self.reader.manifest.tar, views_per_photo), origin)
        start = engine.processes.broadcast_from_first(lambda: progress.resume(stores.files_exist))
        if start:
            run.report(f"{what}: resumes after {start} of {count} {'views' if drawn else 'photos'}")
        items = np.arange(start, count)
        stored = [self.keys[item // views_per_photo] for item in range(start)]
        _write(stores, stored, self._blocks(items, drawn, engine), origin, engine, progress)

    def _blocks(self, items: NDArray[np.int64], drawn: DrawnViews | None, engine: InferenceEngine) -> Iterator[Block]:
        num_suffix_groups = self.boundary.num_suffix_groups

        def encode(pixels: Tensor, _positions: Tensor) -> Tensor:
            activations = self.tower.forward_prefix(pixels, num_suffix_groups)
            return _concatenated(activations, self.tower.forward_suffix(activations, num_suffix_groups))

        image = self.source.description
        views = PhotoViews(self.reader, image["size"], resizing=Resizing.of(image))
        if drawn:
            views = replace(views, view=drawn.augment, crop_scale=drawn.crop_scale or 1.0)
        for start, block in encode_photos(encode, views, items, engine, drawn):
            photos = items[start : start + len(block)] // (drawn.count if drawn else 1)
            yield [self.keys[photo] for photo in photos], block.cpu().numpy(), None


class _Texts:
    """Distinct texts, encoded in batches of similar length, so that there is little padding."""

    def __init__(self, source: TowerSource, texts: list[str], engine: InferenceEngine) -> None:
        self.texts = texts
        self.engine = engine
        self._tokenizer = TextTokenizer(source.description["tokenizer"])
        self._max_tokens = source.description["max_tokens"]
        self._order = np.argsort([len(text) for text in texts], kind="stable")
        self._batches = sequential_batches(len(texts), engine.batch_size)

    def _tokenized(self, number: int) -> tuple[list[str], Tensor, Tensor]:
        texts = [self.texts[row] for row in self._order[self._batches[number][1]]]
        ids, mask = self._tokenizer.encode_batch(texts, self._max_tokens)
        return texts, torch.as_tensor(ids), torch.as_tensor(mask)

    def count_tokens(self) -> int:
        """Return the number of tokens of all texts, without padding."""
        return sum(int(self._tokenized(number)[2].sum()) for number in range(len(self._batches)))

    def blocks(self, tower: TextTower, boundary: TowerBoundary) -> Iterator[Block]:
        """Yield blocks for `TowerStores.write`, on rank 0 only."""

        def encode(ids: Tensor, mask: Tensor) -> Tensor:
            activations = tower.forward_prefix(ids, mask, boundary.num_suffix_groups)
            return _concatenated(activations, tower.forward_suffix(activations, mask, boundary.num_suffix_groups))

        def encode_batch(number: int) -> Block:
            texts, ids, mask = self._tokenized(number)
            block = self.engine.run(encode, ids, mask)
            return [text_key(text) for text in texts], block.cpu().numpy(), mask.numpy()

        blocks = round_robin(len(self._batches), encode_batch, self.engine.processes)
        return self.engine.meter.over(blocks, "texts", len(self.texts), lambda block: len(block[0]))


def _write(
    stores: TowerStores,
    stored: list[str],
    blocks: Iterator[Block],
    origin: tuple[str, str],
    engine: InferenceEngine,
    progress: Progress | None = None,
) -> None:
    """Write blocks after the `stored` items; only rank 0 opens files and receives blocks."""
    if engine.processes.is_first:
        stores.open(stored)
    for block in blocks:
        stores.write(*block)
        if progress is not None:
            progress.save(len(stores.ids), stores.flush)
    if engine.processes.is_first:
        stores.close(*origin)

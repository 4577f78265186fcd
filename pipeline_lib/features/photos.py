"""The photos of a catalogue as a frozen image tower gives them: in the fixed view, mirrored, or in drawn views.

Each photo is decoded once for all views that are written together. A killed pass resumes after the last completed
shard.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.features.boundaries import find_boundary, find_pooling
from pipeline_lib.features.inputs import ExtractionRun
from pipeline_lib.features.progress import Progress
from pipeline_lib.features.tower_stores import TowerStores, photo_origin
from pipeline_lib.inference.engine import Array, InferenceEngine, encode_photos
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import photo_key
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.stores.boundary import MIRRORED, ItemCounts, TowerBoundary, check_size
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.towers.tower import ImageTower, TowerSource
from pipeline_lib.transforms.resizing import Resizing

ONLY_PLAIN = (False,)


@dataclass(frozen=True)
class ViewOptions:
    """What is stored of each photo at `size` pixels: a view for each of `mirrored`, mirrored or not.

    `layers` and `max_gb` are as in `TrunkOptions`.
    """

    size: int
    mirrored: tuple[bool, ...]
    layers: int
    max_gb: float


@dataclass(frozen=True)
class Photos:
    """All photos of the manifest, by their keys, and the tower that runs over them at `size` pixels."""

    reader: ShardReader
    keys: list[str]
    tower: ImageTower
    source: TowerSource
    boundary: TowerBoundary
    size: int

    @classmethod
    def of(
        cls, reader: ShardReader, tower: ImageTower, source: TowerSource, size: int, layers: int, tokens: bool = False
    ) -> "Photos":
        """Return the photos of the shards, with what can be stored if a tower's last `layers` groups are trained.

        With `tokens` that is what the tower pools.
        """
        from pipeline_lib.features.folded_norms import fold_batch_norms  # it imports timm

        def run_prefix(num_suffix_groups: int) -> Tensor:
            return tower.forward_prefix(torch.zeros(1, 3, size, size, dtype=torch.uint8), num_suffix_groups)

        pixels = torch.randint(256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            if tokens:
                boundary = find_pooling(tower, source, pixels)
            else:
                boundary = find_boundary("image", tower, source, layers, run_prefix)
        if boundary.pooled or boundary.suffix:
            fold_batch_norms(tower, lambda: encode_view(tower, boundary, pixels))
        products = zip(reader.manifest.product_ids, np.diff(reader.manifest.first).tolist(), strict=True)
        keys = [photo_key(str(product), photo) for product, count in products for photo in range(count)]
        return cls(reader, keys, tower, source, boundary, size)

    def counts(self, views: int = 1) -> ItemCounts:
        """Return the number of items and of activation vectors of so many views of each photo."""
        items = len(self.keys) * views
        return ItemCounts(items, items * int(np.prod(self.boundary.shape[:-1])))

    def write(
        self,
        out: Path,
        run: ExtractionRun,
        engine: InferenceEngine,
        drawn: DrawnViews | None = None,
        mirrored: Sequence[bool] = ONLY_PLAIN,
    ) -> None:
        """Write the stores of the fixed view, a pair for each of `mirrored`, or of `drawn` views."""
        views_per_photo, what = (drawn.count, "image views") if drawn else (1, "image")
        names = [f"image{MIRRORED if flipped else ''}" for flipped in mirrored]
        stores = [TowerStores(out, name, self.boundary, self.counts(), run.dtype, drawn) for name in names]
        if stores[0].is_empty:
            return
        count = len(self.keys) * views_per_photo
        origins = [photo_origin(self.source, self.size, flipped, drawn) for flipped in mirrored]
        path = run.progress and run.progress / f"{what.replace(' ', '-')}.json"
        progress = Progress(path, np.repeat(self.reader.manifest.tar, views_per_photo), origins)
        start = engine.processes.broadcast_from_first(
            lambda: progress.resume(lambda: all(one.files_exist() for one in stores))
        )
        if start:
            run.report(f"{what}: resumes after {start} of {count} {'views' if drawn else 'photos'}")
        if engine.processes.is_first:
            for one in stores:
                one.open([self.keys[item // views_per_photo] for item in range(start)])
        for ids, values in self._blocks(np.arange(start, count), drawn, mirrored, engine):
            for one, own in zip(stores, np.split(values, len(stores), axis=1), strict=True):
                one.write(ids, own, None)
            progress.save(len(stores[0].ids), *(one.flush for one in stores))
        if engine.processes.is_first:
            for one, origin in zip(stores, origins, strict=True):
                one.close(*origin)

    def _blocks(
        self, items: NDArray[np.int64], drawn: DrawnViews | None, mirrored: Sequence[bool], engine: InferenceEngine
    ) -> Iterator[tuple[list[str], Array]]:
        """Yield keys, and the values of each of `mirrored` side by side, each as `concatenated` returns them."""

        def encode(pixels: Tensor, _positions: Tensor) -> Tensor:
            views = [pixels.flip(-1) if flipped else pixels for flipped in mirrored]
            return torch.cat([encode_view(self.tower, self.boundary, view) for view in views], dim=1)

        views = PhotoViews(self.reader, self.size, resizing=Resizing.of(self.source.description))
        if drawn:
            views = replace(views, view=drawn.augment, crop_scale=drawn.crop_scale or 1.0)
        for start, block in encode_photos(encode, views, items, engine, drawn):
            photos = items[start : start + len(block)] // (drawn.count if drawn else 1)
            yield [self.keys[photo] for photo in photos], block.cpu().numpy()


def encode_view(tower: ImageTower, boundary: TowerBoundary, pixels: Tensor) -> Tensor:
    """Return what is stored of a view, (images, activations + dim)."""
    if boundary.tokens:
        return concatenated(*tower.encode_tokens(pixels))
    activations = tower.forward_prefix(pixels, boundary.num_suffix_groups)
    return concatenated(activations, tower.forward_suffix(activations, boundary.num_suffix_groups))


def concatenated(activations: Tensor, pooled: Tensor) -> Tensor:
    """Return (items, activations + dim): one forward pass computes both, and an engine returns one tensor."""
    return torch.cat([activations.flatten(1).float(), pooled.float()], dim=1)


def extract_views(
    tower: ImageTower,
    source: TowerSource,
    reader: ShardReader,
    out: Path,
    run: ExtractionRun,
    options: ViewOptions,
) -> None:
    """Write the stores `out`/image and `out`/image-mirrored, as far as `options` name them, and their activations.

    ValueError, before the tower runs over the catalogue, if the stores would be larger than the limit. In a process
    group every rank must call this; rank 0 writes.
    """
    engine = run.engine.for_modules(tower)
    photos = Photos.of(reader, tower, source, options.size, options.layers)
    counts = {"image": photos.counts(len(options.mirrored))}
    run.report("\n".join(check_size({"image": photos.boundary}, counts, run.dtype, options.max_gb)))
    photos.write(out, run, engine, mirrored=options.mirrored)

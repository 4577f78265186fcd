"""The towers' features of every photo and every distinct text before training, computed once.

Pooled features replace a tower that stays frozen. Activations at a boundary replace the layers before it, for a tower
of which only the last layer groups are trained. So a sweep over heads, losses and learning rates never runs the frozen
layers. Composed retrieval reads the tokens that the image tower pools. For runs with augmentation, some augmented views
of each photo are stored as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.features.boundaries import find_boundary
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.photos import Photos, concatenated
from pipeline_lib.features.tower_stores import TowerStores, text_origin
from pipeline_lib.inference.engine import Array, InferenceEngine, round_robin
from pipeline_lib.loading.dataset import sequential_batches
from pipeline_lib.loading.products import text_key
from pipeline_lib.params.features import TrunkParams
from pipeline_lib.stores.boundary import ItemCounts, TowerBoundary, check_size
from pipeline_lib.stores.drawn_views import DrawnViews, views_to_draw
from pipeline_lib.towers.joint_space import why_apart
from pipeline_lib.towers.kinds import untrained_image_tower, untrained_text_tower
from pipeline_lib.towers.tower import TextTower, TowerSource
from pipeline_lib.transforms.tokenize import TextTokenizer

# Ids, values as `concatenated` returns them, and the mask.
Block = tuple[list[str], Array, NDArray[np.bool_]]


@dataclass(frozen=True)
class TrunkOptions:
    """What is stored beside the outputs: the input of the last `layers` layer groups, and `drawn` views of each photo.

    With `tokens`, what the image tower pools. `max_gb` limits the size of all stores, in 1e9 bytes.
    """

    layers: int = 0
    max_gb: float = float("inf")
    drawn: DrawnViews | None = None
    tokens: bool = False

    @classmethod
    def of(cls, params: TrunkParams, max_gb: float) -> "TrunkOptions":
        """Return the options that features.trunk requests."""
        drawn = views_to_draw(params.augment, params.crop_scale, params.views, params.view_seed)
        return cls(params.layers if params.at == "boundary" else 0, max_gb, drawn, params.at == "tokens")


def extract_trunk(
    sources: dict[str, TowerSource],
    inputs: ExtractionInputs,
    out: Path,
    run: ExtractionRun,
    options: TrunkOptions | None = None,
) -> None:
    """Write the stores `out`/image (an item per photo) and `out`/text (an item per distinct text), if possible.

    `out`/joint.json says whether both towers have one embedding space.

    Activations, tokens and drawn views have stores of their own. ValueError, before a tower runs over the catalogue, if
    the stores would be larger than the limit. In a process group every rank must call this; rank 0 writes.
    """
    options = options or TrunkOptions()
    image = untrained_image_tower(sources["image"], run.engine.device)
    text = untrained_text_tower(sources["text"], run.engine.device)
    engine = run.engine.for_modules(image, text)
    size = sources["image"].description["size"]
    photos = Photos.of(inputs.reader, image, sources["image"], size, options.layers, options.tokens)
    texts = _Texts(sources["text"], sorted(set(inputs.texts)), engine)
    boundaries = {"image": photos.boundary, "text": _text_boundary(text, sources["text"], options.layers)}
    tokens = 0
    if boundaries["text"].num_suffix_groups:
        tokens = engine.processes.broadcast_from_first(texts.count_tokens)
    counts = {"image": photos.counts(), "text": ItemCounts(len(texts.texts), tokens)}
    run.report("\n".join(check_size(boundaries, counts, run.dtype, options.max_gb, options.drawn)))

    for drawn in (None, options.drawn) if options.drawn else (None,):
        photos.write(out, run, engine, drawn)
    # All texts take as long as a few hundred photos, so they are not resumed.
    stores = TowerStores(out, "text", boundaries["text"], counts["text"], run.dtype)
    if not stores.is_empty:
        if engine.processes.is_first:
            stores.open([])
        for block in texts.blocks(text, boundaries["text"]):
            stores.write(*block)
        if engine.processes.is_first:
            stores.close(*text_origin(sources["text"]))
    if engine.processes.is_first:
        write_json(out / "joint.json", {"why_apart": why_apart(sources)})


def _text_boundary(text: TextTower, source: TowerSource, layers: int) -> TowerBoundary:
    def run_prefix(num_suffix_groups: int) -> Tensor:
        ids = torch.zeros(1, 2, dtype=torch.long, device=next(text.parameters()).device)
        return text.forward_prefix(ids, torch.ones_like(ids, dtype=torch.bool), num_suffix_groups)

    with torch.inference_mode():
        return find_boundary("text", text, source, layers, run_prefix)


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
            return concatenated(activations, tower.forward_suffix(activations, mask, boundary.num_suffix_groups))

        def encode_batch(number: int) -> Block:
            texts, ids, mask = self._tokenized(number)
            block = self.engine.run(encode, ids, mask)
            return [text_key(text) for text in texts], block.cpu().numpy(), mask.numpy()

        blocks = round_robin(len(self._batches), encode_batch, self.engine.processes)
        return self.engine.meter.over(blocks, "texts", len(self.texts), lambda block: len(block[0]))

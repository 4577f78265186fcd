"""The towers' features of every photo and every distinct text before training, computed once.

Pooled features replace a tower that stays frozen. Activations at a boundary replace the layers before it, for a tower
of which only the last layer groups are trained. So a sweep over heads, losses and learning rates never runs the frozen
layers. Composed retrieval reads the tokens that the image tower pools. For runs with augmentation, some augmented views
of each photo are stored as well.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.features.boundaries import find_boundary
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.photos import Photos, concatenated
from pipeline_lib.features.text_batches import TextBatches
from pipeline_lib.features.tower_stores import TowerStores, text_origin
from pipeline_lib.params.features import TrunkParams
from pipeline_lib.stores.boundary import ItemCounts, TowerBoundary, check_size
from pipeline_lib.stores.drawn_views import DrawnViews, views_to_draw
from pipeline_lib.towers.joint_space import why_apart
from pipeline_lib.towers.kinds import untrained_image_tower, untrained_text_tower
from pipeline_lib.towers.tower import TextTower, TowerSource
from pipeline_lib.transforms.text_lengths import cut_texts
from pipeline_lib.transforms.tokenize import TextTokenizer


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
    description = sources["text"].description
    tokenizer, max_tokens = TextTokenizer(description["tokenizer"]), description["max_tokens"]
    texts = TextBatches(sorted(set(inputs.texts)), tokenizer, max_tokens, engine)
    boundaries = {"image": photos.boundary, "text": _text_boundary(text, sources["text"], options.layers)}
    tokens = 0
    if boundaries["text"].num_suffix_groups:
        tokens = engine.processes.broadcast_from_first(texts.count_tokens)
    counts = {"image": photos.counts(), "text": ItemCounts(len(texts.texts), tokens)}
    sizes = check_size(boundaries, counts, run.dtype, options.max_gb, options.drawn)
    run.report("\n".join([*sizes, *cut_texts(tokenizer.encode_batch, texts.texts, max_tokens, "texts")]))

    for drawn in (None, options.drawn) if options.drawn else (None,):
        photos.write(out, run, engine, drawn)
    # All texts take as long as a few hundred photos, so they are not resumed.
    stores = TowerStores(out, "text", boundaries["text"], counts["text"], run.dtype)
    if not stores.is_empty:
        if engine.processes.is_first:
            stores.open([])
        for block in texts.blocks(lambda ids, mask: _encode(text, boundaries["text"].num_suffix_groups, ids, mask)):
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


def _encode(tower: TextTower, num_suffix_groups: int, ids: Tensor, mask: Tensor) -> Tensor:
    """Return what is stored of texts, (texts, activations + dim)."""
    activations = tower.forward_prefix(ids, mask, num_suffix_groups)
    return concatenated(activations, tower.forward_suffix(activations, mask, num_suffix_groups))

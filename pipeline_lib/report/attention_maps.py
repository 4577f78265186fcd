"""Where the image tower looks in the photos of some queries: the maps of one fold's model over what it sees.

The model is loaded for these few photos alone, on the CPU. Libraries are imported there, so that a report without maps
does not wait for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.artifacts import paths
from pipeline_lib.report.gallery import Card, Gallery, Item, spread_sample
from pipeline_lib.report.gate_maps import overlay_uri, view_uri
from pipeline_lib.report.inputs import FoldRun

if TYPE_CHECKING:
    from pipeline_lib.inference.attention import AttentionMaps
    from pipeline_lib.report.view import ReportView

# Kind of a map -> its name, and what it says.
KINDS = {
    "pooling": (
        "Weights of the attentive pooling",
        "how much each part of the photo counts in its embedding, whatever the query",
    ),
    "class_token": (
        "Attention of the class token in the last block (mean of its heads)",
        "which parts the embedding is read from, whatever the query",
    ),
    "grad_cam": (
        "Grad-CAM of the similarity",
        "which parts of the photo raise its similarity with this query",
    ),
}


@dataclass(frozen=True)
class Looked:
    """One photo of a query as the tower sees it, its map as a picture, and the largest share of one cell."""

    item: Item
    role: str
    view: str
    picture: str
    largest: float


@dataclass(frozen=True)
class AttentionCard:
    """One query and the photos that are looked at: its right answer, and the first result if that is another one."""

    card: Card
    photos: list[Looked]


@dataclass(frozen=True)
class AttentionView:
    """What the section shows: cards, the kind of the maps in words, their cells a side, and the fold of the model."""

    cards: list[AttentionCard]
    kind: str
    meaning: str
    cells: int
    fold: int


def attention_view(view: "ReportView") -> AttentionView | None:
    """Return the maps; None without a joint embedding, without queries, or for a tower that gives no maps."""
    if view.gallery is None or not view.params.attention or not view.inputs.folds:
        return None
    run = view.inputs.folds[0]
    if not run.model.get("description", {}).get("retrieval"):
        return None
    chosen = _cards(view.gallery, run, view.params.attention, view.params.seed)
    asked = [(card, item, role) for card in chosen for item, role in _photos(card)]
    if not asked:
        return None
    photos = [view.photos.encoded(item.product_id) for _, item, _ in asked]
    folder = view.inputs.root / paths.train_of(run.fold)
    maps = compute_maps(folder, view.scales[0], photos, [card.text for card, _, _ in asked], view.interpolation)
    if maps is None:
        return None
    image = run.model["description"]["image"]
    looked: dict[str, list[Looked]] = {}
    for (card, item, role), photo, shares in zip(asked, photos, maps.maps.astype(float), strict=True):
        largest = float(shares.max())
        picture = overlay_uri(photo, shares, (0.0, largest or 1.0), image)
        looked.setdefault(card.query_id, []).append(Looked(item, role, view_uri(photo, image), picture, largest))
    cards = [AttentionCard(card, looked[card.query_id]) for card in chosen if card.query_id in looked]
    return AttentionView(cards, *KINDS[maps.kind], maps.maps.shape[1], run.fold)


def _cards(gallery: Gallery, run: FoldRun, num: int, seed: int) -> list[Card]:
    """Return cards of queries that the model did not train on, evenly spaced from best to worst."""
    own = gallery.ranks.filter(gallery.ranks["fold"].eq_missing(run.fold) | gallery.ranks["fold"].is_null())
    return gallery.cards(spread_sample(own, num, seed))


def _photos(card: Card) -> list[tuple[Item, str]]:
    """Return the right answer and the first result, if that is another product."""
    right = [(card.expected, "right answer")] if card.expected is not None else []
    return right + [(item, "first result") for item in card.items[:1] if not item.right]


def compute_maps(
    folder: Path, size: int, photos: Sequence[bytes], texts: Sequence[str], interpolation: float
) -> "AttentionMaps | None":
    """Return the map of each encoded photo for its text, by the model in a folder; None if its tower gives none."""
    import numpy as np
    import torch

    import pipeline_lib.execution.threads  # noqa: F401  the collector scans less while libraries are imported
    from pipeline_lib.inference.attention import attention_maps
    from pipeline_lib.inference.engine import InferenceEngine, encode_texts
    from pipeline_lib.inference.wise_ft import load_interpolated
    from pipeline_lib.transforms.decode import decode
    from pipeline_lib.transforms.image import fixed_view
    from pipeline_lib.transforms.resizing import Resizing
    from pipeline_lib.transforms.tokenize import TextTokenizer

    model = load_interpolated(folder, interpolation).model
    description = model.description
    resizing = Resizing.of(description["image"])
    views = np.stack([fixed_view(decode(photo, size), size, resizing) for photo in photos])
    pixels = torch.from_numpy(views).permute(0, 3, 1, 2).contiguous()

    def encode(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return model.embed_text(model.encode_text(ids, mask))

    engine = InferenceEngine("cpu", max(1, len(texts)), 0, "fp32")
    tokenizer, max_tokens = TextTokenizer(folder / "tokenizer"), int(description["text"]["max_tokens"])
    queries = torch.from_numpy(encode_texts(encode, tokenizer, texts, max_tokens, engine))
    return attention_maps(model, pixels, queries)

"""Queries of a picture and a sentence, by the composed model of plan.composed if the project has one.

A reference is a product, whose features are stored, or an uploaded picture, which the untrained image tower reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline_lib.artifacts import paths
from pipeline_lib.models.saved import CARD, read_card
from pipeline_lib.params.model import FusionKind, ImageTowerParams, TextTowerParams, UntrainedImage, UntrainedText
from pipeline_lib.params.plan import TRUNK, PlanParams
from pipeline_lib.params.section import parse_section, parse_value
from pipeline_lib.serving.catalogue import ServedCatalogue, read_served
from pipeline_lib.serving.pictures import as_batch
from pipeline_lib.serving.query import COMPOSED, Answer, Found
from pipeline_lib.serving.replaced import load_same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pipeline_lib.retrieval.composed_search import ComposedSearch
    from pipeline_lib.towers.tower import ImageTower
    from pipeline_lib.transforms.image import Pixels


@dataclass(frozen=True)
class ComposedQueries:
    """The composed model of a `kind` and a fold, loaded at the first query; paths are relative to the project.

    `fingerprint` is that of the model when it was found: one that takes its place later raises ReplacedError.
    """

    kind: str
    fold: int
    params: dict[str, Any]
    fingerprint: str

    @property
    def method(self) -> str:
        """How the API names a query that the model read."""
        return f"{COMPOSED} {self.kind}"

    @property
    def size(self) -> int:
        """The side in pixels of the pictures that it reads."""
        return parse_value("model.image.size", int, self.params)

    @cached_property
    def search(self) -> ComposedSearch:
        """The open model, its gallery and the stores of its references."""
        from pipeline_lib.retrieval.composed_search import open_composed_search
        from pipeline_lib.towers.kinds import resolve_text_tower

        fusion: Any = parse_value("model.fusion", FusionKind, self.params)  # type: ignore[arg-type]
        text = UntrainedText(parse_value("model.text", TextTowerParams, self.params), fusion)
        folder = paths.composed_of(self.kind, self.fold)

        def load() -> ComposedSearch:
            return open_composed_search(folder, paths.features_of(TRUNK), lambda: resolve_text_tower(text))

        return load_same(load, folder, self.fingerprint, f"composed model {self.kind} of fold {self.fold}")

    @cached_property
    def _tower(self) -> ImageTower:
        from pipeline_lib.towers.kinds import resolve_image_tower, untrained_image_tower

        fusion: Any = parse_value("model.fusion", FusionKind, self.params)  # type: ignore[arg-type]
        image = parse_value("model.image", ImageTowerParams, self.params)
        dim = parse_value("model.embedding_dim", int, self.params)
        source = resolve_image_tower(UntrainedImage(image, fusion, dim))
        expected = self.search.saved.card["run"]["towers"]["image"]
        if source.fingerprint != expected:
            raise ValueError(
                f"composed model {self.kind} of fold {self.fold}: trained on photos of the tower {expected}, but "
                f"model.image is {source.fingerprint}; run `dvc repro`"
            )
        return untrained_image_tower(source, "cpu")

    def load_all(self) -> None:
        """Load the model and its image tower now."""
        _ = self._tower

    def embed_like(self, product_id: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings (texts, dim) of a product that each of the texts changes."""
        return self.search.embed(self.search.reference(product_id), texts)

    def embed_picture(self, view: Pixels, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings (texts, dim) of a picture's square that each of the texts changes."""
        return self.search.embed(self.search.photo_reference(self._tower, as_batch(view)), texts)


def composed_answer(queries: ComposedQueries, product_id: str, text: str, k: int) -> tuple[ServedCatalogue, Answer]:
    """Return the gallery's columns and the top k products of a query, for a project that has no search index."""
    search = queries.search
    catalogue = read_served(Path(), search.gallery.ids)
    found = [Found(catalogue.row_of[key], score) for key, score in search.search(product_id, text, k)]
    return catalogue, Answer(found, queries.method, len(catalogue.ids), search.cut_at(text))


def find_composed(root: Path, fold: int, params: dict[str, Any]) -> ComposedQueries | None:
    """Return the first kind of plan.composed whose model of the fold exists; None without one.

    Raises ValueError for a model whose card is damaged.
    """
    for kind in parse_section(PlanParams, params).composed:
        folder = root / paths.composed_of(kind, fold)
        if (folder / CARD).is_file():
            return ComposedQueries(kind, fold, params, str(read_card(folder)["fingerprint"]))
    return None

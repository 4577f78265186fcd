"""One fold's model of one project, open for queries: text tower, index and catalogue; the rest when it is needed.

`answer` takes all queries that wait, so that texts are embedded together and equal filters are searched together. One
thread calls it, and another one the other methods, because a picture takes longer than many texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.params.embed import EmbedParams
from pipeline_lib.params.plan import PlanParams
from pipeline_lib.params.section import load_params, parse_section, parse_value
from pipeline_lib.params.values import ColourProfile
from pipeline_lib.retrieval.faiss_index import Fingerprints
from pipeline_lib.retrieval.filtered_search import ALL, Selection, best_hits, search_selected
from pipeline_lib.retrieval.search import Hit, ProductIndex, open_index
from pipeline_lib.serving.catalogue import ServedCatalogue, read_served
from pipeline_lib.serving.composed import ComposedQueries, find_composed
from pipeline_lib.serving.pictures import PictureEmbedder
from pipeline_lib.serving.query import (
    PICTURE,
    PRODUCT,
    SUM,
    TEXT,
    Answer,
    Encoded,
    Filters,
    Found,
    Job,
    NotSearchedError,
    Query,
)
from pipeline_lib.serving.replaced import load_same
from pipeline_lib.serving.text_embedder import TextEmbedder
from pipeline_lib.transforms.resizing import Resizing, preprocessing_fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline_lib.models.multimodal import ImageTextModel


@dataclass(frozen=True)
class ServedModel:
    """An open model with a `name` for the page; `max_pixels` is data.max_pixels, the largest picture it decodes."""

    name: str
    index: ProductIndex
    catalogue: ServedCatalogue
    texts: TextEmbedder
    pictures: PictureEmbedder
    composed: ComposedQueries | None
    max_pixels: int

    def answer(self, jobs: Sequence[Job]) -> list[Answer | Exception]:
        """Return the answer of each job, or the ValueError of a job that cannot be answered."""
        encoded = self._encoded(jobs)
        answers: list[Answer | Exception | None] = [None] * len(jobs)
        together: dict[Filters, list[int]] = {}
        for number, job in enumerate(jobs):
            together.setdefault(job.filters, []).append(number)
        for filters, numbers in together.items():
            try:
                selection = self._selection(filters)
                for number, hits in self._hits([jobs[one] for one in numbers], numbers, encoded, selection):
                    found = [Found(hit.row, hit.score) for hit in hits]
                    one = encoded[number]
                    answers[number] = Answer(found, one.method, self._searched(one), one.cut_at)
            except ValueError as error:
                for number in numbers:
                    answers[number] = error
        assert all(answer is not None for answer in answers)
        return [answer for answer in answers if answer is not None]

    def encode(self, query: Query) -> Encoded:
        """Return the vector of any query; ValueError for an unknown product, or for stores of another model."""
        encoded = self.encode_changed(query, [query.text])[0]
        if not query.text:
            return encoded
        if encoded.composed and self.composed is not None:
            return encoded._replace(cut_at=self.composed.search.cut_at(query.text))
        return encoded._replace(cut_at=self.texts.cut_at(query.text))

    def encode_changed(self, query: Query, texts: Sequence[str]) -> list[Encoded]:
        """Return the vector of a query with each of the texts in place of its own; ValueError as `encode`."""
        if query.is_text:
            return _encoded(self.texts.embed(list(texts)), TEXT)
        if query.text and self.composed is not None and self.can_compose(query):
            if query.view is not None:
                vectors = self.composed.embed_picture(query.view, texts)
            else:
                vectors = self.composed.embed_like(str(query.like), texts)
            return _encoded(vectors, self.composed.method, True)
        if query.view is not None:
            reference, method = self.pictures.embed(query.view), PICTURE
        else:
            reference, method = self.index.index.reconstruct_batch(np.array([self.row(str(query.like))])), PRODUCT
        if not query.text:
            return _encoded(reference, method)
        from pipeline_lib.inference.engine import normalise_rows  # slow import

        both = normalise_rows(reference) + normalise_rows(self.texts.embed(list(texts)))
        return _encoded(normalise_rows(both), SUM)

    def can_compose(self, query: Query) -> bool:
        """Return whether the composed model reads the reference: a product with stored features, or a picture.

        It reads pictures at the size of its training, which the first of plan.scales may not be. Raises ValueError if
        the model or its stores cannot be opened.
        """
        if self.composed is None:
            return False
        if query.like is None:
            return self.composed.size == self.pictures.size
        return self.composed.search.has_reference(query.like)

    def row(self, product_id: str) -> int:
        """Return the row of a product; ValueError for one that the index does not have."""
        row = self.catalogue.row_of.get(product_id)
        if row is None:
            raise ValueError(f"product {product_id!r}: the index has no such product")
        return row

    def scores(self, encoded: Sequence[Encoded], row: int) -> list[float]:
        """Return the scores of queries of one method with one product.

        Raises NotSearchedError if the composed model read them, and its gallery lacks the product.
        """
        vectors = np.concatenate([one.vector for one in encoded])
        if not encoded[0].composed:
            numbers = np.arange(len(encoded))
            own: list[float] = self.index.scores(vectors, numbers, np.full(len(encoded), row)).tolist()
            return own
        assert self.composed is not None
        (places,) = np.nonzero(self._gallery_rows == row)
        if not len(places):
            raise NotSearchedError(
                f"product {self.catalogue.ids[row]!r} is not in the gallery of the {self.composed.method} model of "
                f"{self.name}: it was trained on it"
            )
        scores: list[float] = self.composed.search.scores(vectors)[:, places[0]].tolist()
        return scores

    def _encoded(self, jobs: Sequence[Job]) -> list[Encoded]:
        waiting = sorted({job.query.text for job in jobs if job.encoded is None})
        vectors = dict(zip(waiting, self.texts.embed(waiting), strict=True)) if waiting else {}
        cut = {text: self.texts.cut_at(text) for text in waiting}
        return [job.encoded or Encoded(vectors[job.query.text][None], TEXT, cut_at=cut[job.query.text]) for job in jobs]

    def _selection(self, filters: Filters) -> Selection:
        allowed = self.catalogue.mask(filters.categories, filters.ranges)
        groups = self.catalogue.group if filters.hide_duplicates and self.catalogue.num_duplicates else None
        if allowed is None and groups is None and filters.min_score is None:
            return ALL
        return Selection(allowed, filters.min_score, groups)

    def _hits(
        self, jobs: Sequence[Job], numbers: Sequence[int], encoded: Sequence[Encoded], selection: Selection
    ) -> list[tuple[int, list[Hit]]]:
        """Return (number, products) of jobs that share a selection, without the product that a query is like."""
        own = [number for number in numbers if not encoded[number].composed]
        wanted = max(job.k + (job.query.like is not None) for job in jobs)
        found: list[list[Hit]] = []
        if own:
            vectors = np.concatenate([encoded[number].vector for number in own])
            found = search_selected(self.index, vectors, wanted, selection)
        of_number = dict(zip(own, found, strict=True))
        for number in set(numbers) - set(own):
            of_number[number] = self._composed_hits(encoded[number], wanted, selection)
        return [
            (number, [hit for hit in of_number[number] if hit.product_id != job.query.like][: job.k])
            for number, job in zip(numbers, jobs, strict=True)
        ]

    def _composed_hits(self, encoded: Encoded, k: int, selection: Selection) -> list[Hit]:
        assert self.composed is not None
        rows, scores = self._gallery_rows, self.composed.search.scores(encoded.vector)[0].astype(np.float32)
        known = rows >= 0
        return best_hits(self.catalogue.ids, rows[known], scores[known], k, selection)

    @cached_property
    def _gallery_rows(self) -> NDArray[np.int64]:
        """Return the row of each product of the composed gallery, -1 for one that the index does not have."""
        assert self.composed is not None
        row_of = self.catalogue.row_of
        return np.array([row_of.get(key, -1) for key in self.composed.search.gallery.ids], np.int64)

    def _searched(self, encoded: Encoded) -> int:
        if encoded.composed and self.composed is not None:
            return len(self.composed.search.gallery.ids)
        return len(self.catalogue.ids)


def _encoded(vectors: NDArray[np.float32], method: str, composed: bool = False) -> list[Encoded]:
    return [Encoded(vector[None], method, composed) for vector in vectors]


def open_served(name: str, root: Path, fold: int, kind: str | None = None) -> ServedModel:
    """Open the model of a fold and its index of a kind in the project at `root`, which must be the working directory.

    Without a kind, it is the first of plan.index. Raises ValueError if the model or the index is missing, or if the
    index was built by another model.
    """
    params = load_params(root / "params.yaml")
    kind = kind or _first_kind(root, params)
    embed, max_pixels = parse_section(EmbedParams, params), parse_value("data.max_pixels", int, params)
    scale = parse_value("plan.scales", list[int], params)[0]
    profile: str = parse_value("shards.colour_profile", ColourProfile, params)  # type: ignore[arg-type]
    folder, place = root / paths.train_of(fold), root / paths.index_of(kind, fold)
    texts = TextEmbedder(folder, embed.interpolation)
    image = read_object(folder / "model.json", description=dict)["description"]["image"]
    index = open_index(place, Fingerprints(texts.fingerprint, preprocessing_fingerprint(scale, image)))

    def load() -> ImageTextModel:
        from pipeline_lib.inference.wise_ft import load_interpolated  # slow import

        if texts.saved is not None:
            return texts.saved.model
        # Only a model without interpolation is loaded later, so its fingerprint is that of its card.
        whole = partial(load_interpolated, folder, embed.interpolation)
        return load_same(whole, folder, texts.fingerprint, f"model of {name}").model

    pictures = PictureEmbedder(load, scale, Resizing.of(image), embed.flip, profile == "convert")
    catalogue = read_served(root, index.product_ids)
    return ServedModel(name, index, catalogue, texts, pictures, find_composed(root, fold, params), max_pixels)


def _first_kind(root: Path, params: dict[str, Any]) -> str:
    kinds = parse_section(PlanParams, params).index
    if not kinds:
        raise ValueError(f"{root / 'params.yaml'}: plan.index is []; set plan.index = [flat] and run `dvc repro`")
    return kinds[0]


def load_all(model: ServedModel) -> None:
    """Load everything now, for a project in another folder: its paths are relative to the working directory."""
    _ = model.pictures.model
    if model.composed is not None:
        model.composed.load_all()

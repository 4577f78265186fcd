"""A teacher's outputs for every photo, and for the mean of each product's photos, in one pass over the shards.

The mean is that of the pooled features, before the heads, as in training with train.photo = mean_pool. A teacher with
frame pooling has what this makes of the photos in place of the mean; a photo's own row does without. Of a product
without a photo the heads read what the teacher learned in its place (model.missing_image). The stores of means are
written only if a product has several photos. Only the image tower runs on all processes of a group; the heads are fast,
so rank 0 runs them alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.progress import Progress
from pipeline_lib.features.teacher_models import TeacherModel
from pipeline_lib.inference.engine import Array, InferenceEngine, encode_photos
from pipeline_lib.inference.photo_pooling import pool_products
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import photo_key
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.stores.store import MatrixWriter, holds_matrix
from pipeline_lib.stores.teacher_store import CLASSES, IMAGE, MEAN
from pipeline_lib.transforms.resizing import Resizing, preprocessing_fingerprint

Rows = NDArray[np.int64]
# Stores of photos: name -> (columns of the outputs of `Heads`, number format).
Columns = dict[str, tuple[slice, str]]


@dataclass(frozen=True)
class TextFeatures:
    """Pooled features of the distinct texts (texts, dim), and the row of each photo's own text, (photos,)."""

    features: Tensor
    rows: Tensor


@dataclass(frozen=True)
class Heads:
    """The heads of a teacher; `texts` if its classifier reads them.

    `has_photo` (photos,) is False for a photo that stands for a missing one.
    """

    model: ImageTextModel
    columns: Columns
    texts: TextFeatures | None
    has_photo: Tensor
    engine: InferenceEngine

    def outputs(self, image: Tensor, photos: Rows) -> Array:
        """Return embeddings and log probabilities side by side, of image features (n, dim) and the photos' texts."""
        rows = torch.from_numpy(photos)
        texts = [] if self.texts is None else [self.texts.features[self.texts.rows[rows]]]

        def run(image: Tensor, has_photo: Tensor, *text: Tensor) -> Tensor:
            image = self.model.with_missing(image, has_photo)
            outputs = [self.model.embed_image(image)] if IMAGE in self.columns else []
            if CLASSES in self.columns:
                features = {"image": image, **({"text": text[0]} if text else {})}
                outputs.append(self.model.classify(features).log_softmax(-1))
            return torch.cat([output.float() for output in outputs], dim=1)

        return self.engine.run(run, image, self.has_photo[rows], *texts).cpu().numpy()


def write_photos(
    teacher: TeacherModel,
    inputs: ExtractionInputs,
    texts: TextFeatures | None,
    out: Path,
    run: ExtractionRun,
    engine: InferenceEngine,
) -> None:
    """Write the stores of all photos, and of products if one has several; resume after the last completed shard."""
    photos, columns = inputs.photos, _columns(teacher.model, run.dtype)
    heads = Heads(teacher.model, columns, texts, torch.tensor(photos["has_photo"].to_list()), engine)
    owner = photos["product_id"].rle_id().to_numpy().astype(np.int64)
    first_photo = np.flatnonzero(np.diff(owner, prepend=-1))
    counts = {"": len(photos), **({"mean": len(first_photo)} if len(first_photo) < len(photos) else {})}
    matrices = {
        (kind, name): (out / (MEAN[name] if kind else name), count, part.stop - part.start, dtype)
        for kind, count in counts.items()
        for name, (part, dtype) in heads.columns.items()
    }
    path = run.progress and run.progress / f"photos{teacher.fold}.json"
    progress = Progress(path, inputs.reader.manifest.tar, teacher.fingerprint)
    begin = engine.processes.broadcast_from_first(
        lambda: progress.resume(lambda: all(holds_matrix(*matrix) for matrix in matrices.values()))
    )
    if begin:
        of_fold = f" of fold {teacher.fold}" if teacher.fold else ""
        run.report(f"{IMAGE}{of_fold}: resumes after {begin} of {len(photos)} photos")
    writers: dict[tuple[str, str], MatrixWriter] = {}
    if engine.processes.is_first:
        writers = {name: MatrixWriter(*matrix, keep=begin > 0) for name, matrix in matrices.items()}
    _encode(teacher, inputs, heads, writers, (owner, first_photo), (progress, begin))

    image = teacher.model.description["image"]
    preprocessing = preprocessing_fingerprint(image["size"], image)
    similarity = teacher.model.description["similarity"]
    keys = {"": [photo_key(*row) for row in photos.select("product_id", "photo").iter_rows()]}
    keys["mean"] = photos["product_id"].gather(first_photo).to_list()
    for (kind, _), writer in writers.items():
        writer.close(keys[kind], teacher.fingerprint, preprocessing, similarity)


def _encode(
    teacher: TeacherModel,
    inputs: ExtractionInputs,
    heads: Heads,
    writers: dict[tuple[str, str], MatrixWriter],
    products: tuple[Rows, Rows],
    saved: tuple[Progress, int],
) -> None:
    """Run the image tower over the photos that are not stored yet, and the heads over photos and means."""
    (owner, first_photo), (progress, begin) = products, saved
    if begin == len(owner):
        return
    # A product whose photos lie in two shards is computed again.
    first = int(owner[begin])
    begin = int(first_photo[first])
    flushes = [writer.flush for writer in writers.values()]

    def write(kind: str, start: int, features: Tensor, photos: Rows) -> None:
        outputs = heads.outputs(features, photos)
        for name, (part, _) in heads.columns.items():
            writers[kind, name].write(start, outputs[:, part])

    def photo_blocks() -> Iterator[tuple[int, Tensor]]:
        image, done = teacher.model.description["image"], begin
        views = PhotoViews(inputs.reader, image["size"], resizing=Resizing.of(image))

        def encode(pixels: Tensor, _positions: Tensor) -> Tensor:
            return teacher.model.encode_image(pixels)

        for start, block in encode_photos(encode, views, np.arange(begin, len(owner)), heads.engine):
            # The means of the products before this block are written by now.
            progress.save(done, *flushes)
            write("", done, block, np.arange(done, done + len(block)))
            done += len(block)
            yield start, block

    for pooled in pool_products(teacher.model, photo_blocks(), owner[begin:] - first, heads.engine, 1):
        if len(first_photo) < len(owner):
            rows = slice(first + pooled.start, first + pooled.start + len(pooled.features))
            write("mean", rows.start, pooled.features, first_photo[rows])
    if writers:
        progress.save(len(owner), *flushes)


def _columns(model: ImageTextModel, dtype: str) -> Columns:
    dim = model.description["embedding_dim"] if model.description["retrieval"] else 0
    columns: Columns = {}
    if dim:
        columns[IMAGE] = slice(0, dim), dtype
    if model.description["classes"]:
        columns[CLASSES] = slice(dim, dim + len(model.description["classes"])), "float32"
    return columns

"""Runs a teacher over every photo and every distinct text, once: joint embeddings, and class log probabilities.

Log probabilities, because a temperature above 1 asks for what float16 or a plain probability has rounded to 0. A
classifier that reads text as well reads the product's own text: a row is what the teacher believes of the product, seen
on that photo, whatever caption a student is then shown. The view is the plain one at the teacher's own image size.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.features.progress import Progress
from pipeline_lib.features.teacher_models import TeacherModel
from pipeline_lib.inference.engine import Array, InferenceEngine, encode_photos, encode_texts
from pipeline_lib.loading.dataset import sequential_batches
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.models.classifier import CLASSIFIER_INPUTS
from pipeline_lib.models.multimodal import MAX_LOGIT_SCALE, ImageTextModel
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.stores.store import MatrixWriter, holds_matrix
from pipeline_lib.stores.teacher_store import CLASSES, IMAGE, TEXT, TeacherCard, has_card, write_card
from pipeline_lib.transforms.image import preprocessing_fingerprint


def extract_teacher(
    teacher: TeacherModel, reader: ShardReader, photos: pl.DataFrame, texts: list[str], out: Path,
    engine: InferenceEngine, dtype: str, tell: Callable[[str], object] | None = None, marks: Path | None = None,
) -> None:  # fmt: skip
    """Write `out`/image, /classes (a row a photo) and /text (a row a distinct text), as far as it has the heads.

    `photos` has product_id, photo and the product's own text, in the manifest's order; all these are in `texts`.
    Embeddings are stored as `dtype`, log probabilities as float32. With a folder `marks`, a run that was killed goes on
    where its marks there say, and `tell` hears of it; stores that have this teacher's card are whole. Of several
    processes all must call this, and the first one tells and writes.
    """
    processes = engine.processes
    if marks is not None and processes.broadcast_from_first(lambda: has_card(out, teacher.fingerprint)):
        return
    model, engine = teacher.model.to(engine.device), engine.settled(teacher.model)
    description = model.description
    classes, retrieval = description["classes"], description["retrieval"]
    reads_text = bool(classes) and "text" in CLASSIFIER_INPUTS[description["classifier"]["inputs"]]
    distinct = sorted(set(texts))
    features = None
    if retrieval or reads_text:
        limit = description["text"]["max_tokens"]
        features = encode_texts(model.encode_text, teacher.tokenizer, distinct, limit, engine)
    # Heads take no time beside towers: the first process runs them alone.
    if retrieval and processes.is_first:
        assert features is not None
        _write_texts(teacher, distinct, features, out, engine, dtype)

    own_texts = None
    if reads_text:
        assert features is not None
        number = {text: row for row, text in enumerate(distinct)}
        own_texts = torch.from_numpy(features), torch.tensor([number[text] for text in photos["text"]])
    progress = Progress(marks and marks / f"photos{teacher.fold}.json", reader.manifest.tar, teacher.fingerprint)
    _write_photos(teacher, reader, photos, own_texts, out, engine, dtype, progress, tell)
    scale = _scale(model) if retrieval else ()
    if processes.is_first:
        write_card(out, TeacherCard(teacher.fingerprint, scale, tuple(classes), teacher.trained))


def _write_texts(
    teacher: TeacherModel, distinct: list[str], features: Array, out: Path, engine: InferenceEngine, dtype: str
) -> None:
    description = teacher.model.description
    writer = MatrixWriter(out / TEXT, len(distinct), description["embedding_dim"], dtype)
    for _, rows in sequential_batches(len(distinct), engine.batch_size):
        embedded = engine.run(teacher.model.embed_text, torch.from_numpy(features[rows]))
        writer.write(int(rows[0]), embedded.cpu().numpy())
    fed = digest_value(["tokenizer of", teacher.fingerprint, description["text"]["max_tokens"]])
    writer.close([text_key(text) for text in distinct], teacher.fingerprint, fed, description["similarity"])


def _write_photos(
    teacher: TeacherModel, reader: ShardReader, photos: pl.DataFrame, own_texts: tuple[Tensor, Tensor] | None,
    out: Path, engine: InferenceEngine, dtype: str, progress: Progress, tell: Callable[[str], object] | None,
) -> None:  # fmt: skip
    model, description = teacher.model, teacher.model.description
    dim = description["embedding_dim"] if description["retrieval"] else 0
    columns: dict[str, tuple[slice, str]] = {}
    if dim:
        columns[IMAGE] = slice(0, dim), dtype
    if description["classes"]:
        columns[CLASSES] = slice(dim, dim + len(description["classes"])), "float32"
    sizes = {name: (out / name, len(photos), part.stop - part.start, kind) for name, (part, kind) in columns.items()}
    begin = engine.processes.broadcast_from_first(
        lambda: progress.resume(lambda: all(holds_matrix(*size) for size in sizes.values()))
    )
    if begin and tell is not None and engine.processes.is_first:
        whose = f" of fold {teacher.fold}" if teacher.fold else ""
        tell(f"{IMAGE}{whose}: goes on behind {begin} of {len(photos)} photos, which are stored")
    writers: dict[str, MatrixWriter] = {}
    if engine.processes.is_first:
        writers = {name: MatrixWriter(*size, keep=begin > 0) for name, size in sizes.items()}

    def see(pixels: Tensor, positions: Tensor) -> Tensor:
        found = {"image": model.encode_image(pixels)}
        parts = [model.embed_image(found["image"])] if dim else []
        if own_texts is not None:
            features, row_of = own_texts
            found["text"] = features[row_of[begin + positions.cpu()]].to(pixels.device)
        if description["classes"]:
            parts.append(model.classify(found).log_softmax(-1))
        return torch.cat([part.float() for part in parts], dim=1)

    image = description["image"]
    views = PhotoViews(reader, image["size"])
    for start, block in encode_photos(see, views, np.arange(begin, len(photos)), engine):
        for name, writer in writers.items():
            writer.write(begin + start, block[:, columns[name][0]].cpu().numpy())
        progress.mark(begin + start + len(block), *(writer.flush for writer in writers.values()))
    keys = [photo_key(key, photo) for key, photo in photos.select("product_id", "photo").iter_rows()]
    seen = preprocessing_fingerprint(image["size"], image["mean"], image["std"])
    for writer in writers.values():
        writer.close(keys, teacher.fingerprint, seen, description["similarity"])


def _scale(model: ImageTextModel) -> tuple[float, ...]:
    """Return the scales of text -> image and image -> text, as the model itself uses them."""
    value = model.logit_scale.detach().cpu().clamp(0, MAX_LOGIT_SCALE).exp()
    return tuple(value.expand(2).tolist() if value.ndim == 0 else value.tolist())

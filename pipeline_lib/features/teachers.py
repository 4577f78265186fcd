"""Runs a teacher over every photo and every distinct text, once: joint embeddings, and class log probabilities.

Log probabilities, because a temperature above 1 asks for what float16 or a plain probability has rounded to 0. A
classifier that reads text as well reads the product's own text: a row is what the teacher believes of the product, seen
on that photo, whatever caption a student is then shown. The view is the plain one at the teacher's own image size.
"""

from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline_lib.features.batches import PhotoViews, in_order
from pipeline_lib.features.encode import Array, Engine, encode_photos, encode_texts
from pipeline_lib.features.products import photo_key, text_key
from pipeline_lib.features.store import MatrixWriter
from pipeline_lib.features.teacher_stores import CLASSES, IMAGE, TEXT, TeacherCard, write_card
from pipeline_lib.models.classifier import CLASSIFIER_INPUTS
from pipeline_lib.models.multimodal import MAX_LOGIT_SCALE, ImageTextModel
from pipeline_lib.models.teacher import TeacherModel
from pipeline_lib.provenance import digest_value
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.transforms.image import preprocessing_fingerprint


def extract_teacher(
    teacher: TeacherModel, reader: ShardReader, photos: pl.DataFrame, texts: list[str], out: Path, engine: Engine,
    dtype: str,
) -> None:  # fmt: skip
    """Write `out`/image, /classes (a row a photo) and /text (a row a distinct text), as far as it has the heads.

    `photos` has product_id, photo and the product's own text, in the manifest's order; all these are in `texts`.
    Embeddings are stored as `dtype`, log probabilities as float32.
    """
    model = teacher.model.to(engine.device)
    description = model.description
    classes, retrieval = description["classes"], description["retrieval"]
    reads_text = bool(classes) and "text" in CLASSIFIER_INPUTS[description["classifier"]["inputs"]]
    distinct = sorted(set(texts))
    features = None
    if retrieval or reads_text:
        limit = description["text"]["max_tokens"]
        features = encode_texts(model.encode_text, teacher.tokenizer, distinct, limit, engine)
    if retrieval:
        assert features is not None
        _write_texts(teacher, distinct, features, out, engine, dtype)

    own_texts = None
    if reads_text:
        assert features is not None
        number = {text: row for row, text in enumerate(distinct)}
        own_texts = torch.from_numpy(features), torch.tensor([number[text] for text in photos["text"]])
    _write_photos(teacher, reader, photos, own_texts, out, engine, dtype)
    scale = _scale(model) if retrieval else ()
    write_card(out, TeacherCard(teacher.fingerprint, scale, tuple(classes), teacher.trained))


def _write_texts(
    teacher: TeacherModel, distinct: list[str], features: Array, out: Path, engine: Engine, dtype: str
) -> None:
    description = teacher.model.description
    writer = MatrixWriter(out / TEXT, len(distinct), description["embedding_dim"], dtype)
    for _, rows in in_order(len(distinct), engine.batch_size):
        embedded = engine.run(teacher.model.embed_text, torch.from_numpy(features[rows]))
        writer.write(int(rows[0]), embedded.cpu().numpy())
    fed = digest_value(["tokenizer of", teacher.fingerprint, description["text"]["max_tokens"]])
    writer.close([text_key(text) for text in distinct], teacher.fingerprint, fed, description["similarity"])


def _write_photos(
    teacher: TeacherModel, reader: ShardReader, photos: pl.DataFrame, own_texts: tuple[Tensor, Tensor] | None,
    out: Path, engine: Engine, dtype: str,
) -> None:  # fmt: skip
    model, description = teacher.model, teacher.model.description
    dim = description["embedding_dim"] if description["retrieval"] else 0
    writers: dict[str, tuple[MatrixWriter, slice]] = {}
    if dim:
        writers[IMAGE] = MatrixWriter(out / IMAGE, len(photos), dim, dtype), slice(0, dim)
    if description["classes"]:
        count = len(description["classes"])
        writers[CLASSES] = MatrixWriter(out / CLASSES, len(photos), count, "float32"), slice(dim, dim + count)

    def see(pixels: Tensor, positions: Tensor) -> Tensor:
        found = {"image": model.encode_image(pixels)}
        parts = [model.embed_image(found["image"])] if dim else []
        if own_texts is not None:
            features, row_of = own_texts
            found["text"] = features[row_of[positions.cpu()]].to(pixels.device)
        if description["classes"]:
            parts.append(model.classify(found).log_softmax(-1))
        return torch.cat([part.float() for part in parts], dim=1)

    image = description["image"]
    views = PhotoViews(reader, image["size"])
    for start, block in encode_photos(see, views, np.arange(len(photos)), engine):
        for writer, columns in writers.values():
            writer.write(start, block[:, columns].cpu().numpy())
    keys = [photo_key(key, photo) for key, photo in photos.select("product_id", "photo").iter_rows()]
    seen = preprocessing_fingerprint(image["size"], image["mean"], image["std"])
    for writer, _ in writers.values():
        writer.close(keys, teacher.fingerprint, seen, description["similarity"])


def _scale(model: ImageTextModel) -> tuple[float, ...]:
    """Return the scales of text -> image and image -> text, as the model itself uses them."""
    value = model.logit_scale.detach().cpu().clamp(0, MAX_LOGIT_SCALE).exp()
    return tuple(value.expand(2).tolist() if value.ndim == 0 else value.tolist())

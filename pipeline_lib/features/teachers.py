"""Runs a teacher over every photo and every distinct text, once: joint embeddings, and class log probabilities.

The stores have log probabilities, because a distillation temperature above 1 needs values that float16, or a plain
probability, would round to 0. A classifier that also reads text gets the product's own text: a row is the teacher's
prediction for the product with this photo, independent of the caption that the student gets. The view is the fixed view
at the teacher's own image size.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.progress import Progress
from pipeline_lib.features.teacher_models import TeacherModel
from pipeline_lib.inference.engine import Array, InferenceEngine, encode_photos, encode_texts
from pipeline_lib.loading.dataset import sequential_batches
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.models.classifier import CLASSIFIER_INPUTS
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.stores.store import MatrixWriter, holds_matrix
from pipeline_lib.stores.teacher_store import CLASSES, IMAGE, TEXT, TeacherCard, has_card, write_card
from pipeline_lib.transforms.image import preprocessing_fingerprint


def extract_teacher(teacher: TeacherModel, inputs: ExtractionInputs, out: Path, run: ExtractionRun) -> None:
    """Write `out`/image and /classes (a row per photo) and /text (a row per distinct text), if the model has the heads.

    Embeddings are stored in the dtype of the run, log probabilities as float32. All texts of the photos must be in
    `inputs.texts`. With a progress folder, a killed run resumes, and stores with this teacher's card are complete. In a
    process group every rank must call this; rank 0 writes.
    """
    processes = run.engine.processes
    if run.progress is not None and processes.broadcast_from_first(lambda: has_card(out, teacher.fingerprint)):
        return
    model, engine = teacher.model.to(run.engine.device), run.engine.for_modules(teacher.model)
    classes, retrieval = model.description["classes"], model.description["retrieval"]
    reads_text = bool(classes) and "text" in CLASSIFIER_INPUTS[model.description["classifier"]["inputs"]]
    texts = sorted(set(inputs.texts))
    features = None
    if retrieval or reads_text:
        features = encode_texts(
            model.encode_text, teacher.tokenizer, texts, model.description["text"]["max_tokens"], engine
        )
    # Heads are fast compared with towers, so rank 0 runs them alone.
    if retrieval and processes.is_first:
        assert features is not None
        _write_texts(teacher, texts, features, out / TEXT, engine, run.dtype)

    text_features = None
    if reads_text:
        assert features is not None
        number = {text: row for row, text in enumerate(texts)}
        rows = torch.tensor([number[text] for text in inputs.photos["text"]])
        text_features = TextFeatures(torch.from_numpy(features), rows)
    _write_photos(teacher, inputs, text_features, out, run, engine)
    scale = _scale(model) if retrieval else ()
    if processes.is_first:
        write_card(out, TeacherCard(teacher.fingerprint, scale, tuple(classes), teacher.trained))


@dataclass(frozen=True)
class TextFeatures:
    """Pooled features of the distinct texts (texts, dim), and the row of each photo's own text, (photos,)."""

    features: Tensor
    rows: Tensor


def _write_texts(
    teacher: TeacherModel, texts: list[str], features: Array, folder: Path, engine: InferenceEngine, dtype: str
) -> None:
    description = teacher.model.description
    writer = MatrixWriter(folder, len(texts), description["embedding_dim"], dtype)
    for _, rows in sequential_batches(len(texts), engine.batch_size):
        embedded = engine.run(teacher.model.embed_text, torch.from_numpy(features[rows]))
        writer.write(int(rows[0]), embedded.cpu().numpy())
    preprocessing = digest_value(["tokenizer of", teacher.fingerprint, description["text"]["max_tokens"]])
    writer.close([text_key(text) for text in texts], teacher.fingerprint, preprocessing, description["similarity"])


def _write_photos(
    teacher: TeacherModel,
    inputs: ExtractionInputs,
    texts: TextFeatures | None,
    out: Path,
    run: ExtractionRun,
    engine: InferenceEngine,
) -> None:
    """Write the stores of all photos; resume after the last completed shard."""
    model, photos = teacher.model, inputs.photos
    columns = _photo_columns(model, run.dtype)
    matrices = {name: (out / name, len(photos), part.stop - part.start, kind) for name, (part, kind) in columns.items()}
    path = run.progress and run.progress / f"photos{teacher.fold}.json"
    progress = Progress(path, inputs.reader.manifest.tar, teacher.fingerprint)
    begin = engine.processes.broadcast_from_first(
        lambda: progress.resume(lambda: all(holds_matrix(*matrix) for matrix in matrices.values()))
    )
    if begin:
        of_fold = f" of fold {teacher.fold}" if teacher.fold else ""
        run.report(f"{IMAGE}{of_fold}: resumes after {begin} of {len(photos)} photos")
    writers: dict[str, MatrixWriter] = {}
    if engine.processes.is_first:
        writers = {name: MatrixWriter(*matrix, keep=begin > 0) for name, matrix in matrices.items()}

    def predict(pixels: Tensor, positions: Tensor) -> Tensor:
        features = {"image": model.encode_image(pixels)}
        outputs = [model.embed_image(features["image"])] if IMAGE in columns else []
        if texts is not None:
            features["text"] = texts.features[texts.rows[begin + positions.cpu()]].to(pixels.device)
        if CLASSES in columns:
            outputs.append(model.classify(features).log_softmax(-1))
        return torch.cat([output.float() for output in outputs], dim=1)

    image = model.description["image"]
    views = PhotoViews(inputs.reader, image["size"])
    for start, block in encode_photos(predict, views, np.arange(begin, len(photos)), engine):
        for name, writer in writers.items():
            writer.write(begin + start, block[:, columns[name][0]].cpu().numpy())
        progress.save(begin + start + len(block), *(writer.flush for writer in writers.values()))
    keys = [photo_key(key, photo) for key, photo in photos.select("product_id", "photo").iter_rows()]
    preprocessing = preprocessing_fingerprint(image["size"], image["mean"], image["std"])
    for writer in writers.values():
        writer.close(keys, teacher.fingerprint, preprocessing, model.description["similarity"])


def _photo_columns(model: ImageTextModel, dtype: str) -> dict[str, tuple[slice, str]]:
    """Return the stores of photos: name -> (columns of the outputs of `predict`, number format)."""
    dim = model.description["embedding_dim"] if model.description["retrieval"] else 0
    columns: dict[str, tuple[slice, str]] = {}
    if dim:
        columns[IMAGE] = slice(0, dim), dtype
    if model.description["classes"]:
        columns[CLASSES] = slice(dim, dim + len(model.description["classes"])), "float32"
    return columns


def _scale(model: ImageTextModel) -> tuple[float, ...]:
    """Return the logit scales of text -> image and image -> text, as the model uses them."""
    value = model.logit_scale.detach().cpu().exp()
    return tuple(value.expand(2).tolist() if value.ndim == 0 else value.tolist())

"""Runs a teacher over every photo and every distinct text, once: joint embeddings, and class log probabilities.

The stores have log probabilities, because a distillation temperature above 1 needs values that float16, or a plain
probability, would round to 0. A classifier that also reads text gets the product's own text: a row is the teacher's
prediction for the product with this photo, independent of the caption that the student gets. The view is the fixed view
at the teacher's own image size.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.teacher_models import TeacherModel, teacher_models
from pipeline_lib.features.teacher_photos import TextFeatures, write_photos
from pipeline_lib.features.teacher_words import write_words
from pipeline_lib.inference.engine import Array, InferenceEngine, encode_texts
from pipeline_lib.loading.dataset import sequential_batches
from pipeline_lib.loading.products import photos_fingerprint, text_key
from pipeline_lib.models.classifier import CLASSIFIER_INPUTS
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.splitting.seen import write_seen
from pipeline_lib.stores.store import MatrixWriter
from pipeline_lib.stores.teacher_store import TEXT, WORDS, TeacherCard, has_card, write_card
from pipeline_lib.towers.kinds import encoder_names
from pipeline_lib.transforms.text_lengths import cut_texts


def extract_teachers(
    folder: Path, inputs: ExtractionInputs, out: Path, run: ExtractionRun, words_max_gb: float | None = None
) -> None:
    """Write what each model of the teacher in `folder` gives to `out`/FOLD; to `out` if it is one model for all folds.

    Reports what will be encoded, and texts that are cut, before the first model runs.
    """
    for number, teacher in enumerate(teacher_models(folder)):
        if not number:
            description = teacher.model.description
            run.describe(inputs, encoder_names(description["image"], description["text"]))
            for line in _cut_texts(teacher, inputs.texts):
                run.report(line)
        extract_teacher(teacher, inputs, out / teacher.fold, run, words_max_gb)


def extract_teacher(
    teacher: TeacherModel,
    inputs: ExtractionInputs,
    out: Path,
    run: ExtractionRun,
    words_max_gb: float | None = None,
) -> None:
    """Write `out`/image and /classes (a row per photo) and /text (a row per distinct text), if the model has the heads.

    If a product has several photos, /image-mean and /classes-mean have a row per product. With `words_max_gb`, /words
    has the tokens of each text, of at most so many 1e9 bytes.

    Embeddings are stored in the dtype of the run, log probabilities as float32. All texts of the photos must be in
    `inputs.texts`. With a progress folder, a killed run resumes, and stores with this teacher's card are complete. In a
    process group every rank must call this; rank 0 writes.
    """
    processes = run.engine.processes
    if run.progress is not None and processes.broadcast_from_first(lambda: has_card(out, teacher.fingerprint)):
        return
    model, engine = teacher.model.to(run.engine.device), run.engine.for_modules(teacher.model)
    classes, retrieval, reads_text = model.description["classes"], model.description["retrieval"], _reads_text(model)
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

    if retrieval and words_max_gb is not None:
        write_words(teacher, texts, out / WORDS, run, engine, words_max_gb)

    text_features = None
    if reads_text:
        assert features is not None
        number = {text: row for row, text in enumerate(texts)}
        rows = torch.tensor([number[text] for text in inputs.photos["text"]])
        text_features = TextFeatures(torch.from_numpy(features), rows)
    write_photos(teacher, inputs, text_features, out, run, engine)
    scale = _scale(model) if retrieval else ()
    if processes.is_first:
        seen = write_seen(out, teacher.seen) if teacher.seen is not None else None
        manifest = inputs.reader.manifest
        photos = photos_fingerprint(manifest.product_ids.tolist(), np.diff(manifest.first), manifest.size)
        write_card(out, TeacherCard(teacher.fingerprint, photos, scale, tuple(classes), teacher.trained, seen))


def _cut_texts(teacher: TeacherModel, texts: Iterable[str]) -> list[str]:
    """Return a line if the teacher reads texts and many of them are longer than what its tower reads."""
    description = teacher.model.description
    if not (description["retrieval"] or _reads_text(teacher.model)):
        return []
    longest = description["text"]["max_tokens"]
    return cut_texts(teacher.tokenizer.encode_batch, sorted(set(texts)), longest, "texts", "the teacher's max_tokens")


def _reads_text(model: ImageTextModel) -> bool:
    """Return whether the classifier, if the model has one, reads text."""
    description = model.description
    return bool(description["classes"]) and "text" in CLASSIFIER_INPUTS[description["classifier"]["inputs"]]


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


def _scale(model: ImageTextModel) -> tuple[float, ...]:
    """Return the logit scales of text -> image and image -> text, as the model uses them."""
    value = model.logit_scale.detach().cpu().exp()
    return tuple(value.expand(2).tolist() if value.ndim == 0 else value.tolist())

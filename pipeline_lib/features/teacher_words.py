"""A teacher's embeddings of the tokens of every text, which a score that compares words reads.

Each token goes through the text tower's own projection and the teacher's head, as the token that is pooled does. All
tokens of a text are stored, start and end tokens too, as in X-CLIP; padding is not.
"""

from pathlib import Path

import numpy as np
from torch import Tensor

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.features.inputs import ExtractionRun
from pipeline_lib.features.teacher_models import TeacherModel
from pipeline_lib.features.text_batches import TextBatches
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.stores.activations import ActivationWriter
from pipeline_lib.stores.boundary import TowerBoundary, format_size
from pipeline_lib.stores.numbers import DTYPES


def write_words(
    teacher: TeacherModel, texts: list[str], folder: Path, run: ExtractionRun, engine: InferenceEngine, max_gb: float
) -> None:
    """Write a store with an item per text: the embeddings of its tokens, (tokens, embedding dim).

    ValueError, before the tower runs, if the store would take more than `max_gb` 1e9 bytes, or if the teacher mixes its
    towers' tokens before it pools them, so that no token has a place in the joint space. In a process group every rank
    must call this; rank 0 writes.
    """
    model, first = teacher.model, engine.processes.is_first
    if model.fusion is not None:
        raise ValueError(
            "features.teacher_words = true, but this teacher has model.fusion = early, so its tokens have no place "
            "in the joint space; set features.teacher_words = false"
        )
    max_tokens, dim = model.description["text"]["max_tokens"], model.description["embedding_dim"]
    batches = TextBatches(texts, teacher.tokenizer, max_tokens, engine)
    tokens = engine.processes.broadcast_from_first(batches.count_tokens)
    size = tokens * dim * np.dtype(DTYPES[run.dtype]).itemsize
    what = f"{format_size(size)} as {run.dtype} ({tokens:,} tokens x {dim}, of {len(texts):,} texts)"
    if size > max_gb * 1e9:
        raise ValueError(
            f"features.max_gb = {max_gb:g}, but the words of a teacher take {what}; increase it, or set "
            "features.teacher_words = false"
        )
    run.report(f"words to be stored: {what}")

    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        return model.embed_text(model.text.tokens(ids, mask))

    writer = ActivationWriter(folder, tokens, dim, run.dtype) if first else None
    for block in batches.blocks(encode):
        assert writer is not None
        writer.write(*block)
    if writer is not None:
        preprocessing = digest_value(["tokenizer of", teacher.fingerprint, max_tokens])
        joint_space = TowerBoundary(False, dim, first_group="joint space", shape=(dim,), tokens=True)
        writer.close(teacher.fingerprint, preprocessing, joint_space)

"""A teacher that runs in the training loop, in place of its stored outputs: what stored outputs are measured against.

It has the interface of `TeacherRows`, and gives a batch the same fields from pixels and token ids. Every frame is
decoded and encoded again in every epoch, as in the published loops.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.features.teacher_models import TeacherModel
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import Products


@dataclass(frozen=True)
class TeacherInLoop:
    """One teacher over all photos of products; `views` reads them at the teacher's size."""

    teacher: TeacherModel
    views: PhotoViews
    products: Products

    def batch_fields(self, rows: np.ndarray, photos: np.ndarray, texts: np.ndarray) -> dict[str, Tensor]:
        """Return teacher_frames, frame_mask, teacher_text, teacher_words and teacher_word_mask of a batch."""
        model, counts = self.teacher.model, self.products.num_photos[rows]
        mask = np.arange(counts.max()) < counts[:, None]
        manifest_rows = (self.products.first_photo[rows][:, None] + np.arange(mask.shape[1]))[mask]
        pixels = self.views.load(manifest_rows, [(0,)] * len(manifest_rows))
        ids, word_mask = self.teacher.tokenizer.encode_batch(
            [self.products.texts[text] for text in texts], model.description["text"]["max_tokens"]
        )
        ids, word_mask = torch.as_tensor(ids), torch.as_tensor(word_mask)
        with torch.inference_mode():
            embedded = model.embed_image(model.encode_image(pixels))
            frames = torch.zeros(*mask.shape, embedded.shape[1])
            frames[torch.from_numpy(mask)] = embedded
            sentence = model.embed_text(model.encode_text(ids, word_mask))
            words = model.embed_text(model.text.tokens(ids, word_mask)) * word_mask[..., None]
        return {
            "teacher_frames": frames.clone(),
            "frame_mask": torch.from_numpy(mask),
            "teacher_text": sentence.clone(),
            "teacher_words": words.clone(),
            "teacher_word_mask": word_mask[..., None],
        }

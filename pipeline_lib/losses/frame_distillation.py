"""Frame distillation: the student's frame attention weights a clip's frames as a teacher's sentence does.

With w_T = softmax_t(cos(sentence, frame_t)) of the teacher and w_S = softmax_t(a_t) of the student's attention logits
a, both over the frames of one clip and without a temperature, L = mean of -w_T log w_S over all frames of the batch's
clips (`fine` of TeachCLIP, Tian et al., CVPR 2024). So a loss that trains on pairs teaches weights that need no
sentence. Padding is masked: it counts in no softmax and in no mean.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.teachers import DistillationTeachers, select_teachers
from pipeline_lib.params.losses import FrameDistillationParams


def frame_distillation(logits: Tensor, cosines: Tensor, mask: Tensor) -> Tensor:
    """Return the loss of attention logits against a teacher's cosines, all (clips, frames); 0 without clips."""
    padding = ~mask
    weights = cosines.masked_fill(padding, float("-inf")).softmax(dim=1)
    logs = logits.masked_fill(padding, float("-inf")).log_softmax(dim=1).masked_fill(padding, 0.0)
    return -(weights * logs).sum() / mask.sum().clamp(min=1)


class FrameDistillation:
    """Frame distillation over the clips of a batch that have a text, averaged over its teachers."""

    def __init__(self, params: FrameDistillationParams, teachers: DistillationTeachers) -> None:
        self.slices = select_teachers("frame_distillation", params.teachers, teachers.teachers, "retrieval")

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        assert outputs.frame_logits is not None, "the model has no frame attention"
        assert batch.teacher_frames is not None and batch.frame_mask is not None and batch.teacher_text is not None
        rows = batch.rows_with_text()
        # The logits are those of all clips' frames one after another, the True entries of the mask row by row.
        logits = torch.zeros_like(batch.frame_mask, dtype=outputs.frame_logits.dtype)
        logits, mask = logits.masked_scatter(batch.frame_mask, outputs.frame_logits)[rows], batch.frame_mask[rows]
        total = logits.sum() * 0.0
        for one in self.slices:
            frames, sentence = batch.teacher_frames[rows][..., one.columns], batch.teacher_text[rows][:, one.columns]
            cosines = functional.cosine_similarity(frames, sentence[:, None], dim=-1)
            total = total + one.weight * frame_distillation(logits, cosines, mask)
        return total

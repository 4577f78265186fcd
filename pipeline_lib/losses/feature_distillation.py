"""Feature distillation: each embedding of the student is drawn to the teacher's of the same photo or text.

With P the identity, or where widths differ a learned linear map from the student's joint space into the teacher's
(FitNets, Romero et al. 2015, arXiv:1412.6550; between CLIP models Yang et al. 2023, arXiv:2307.12732), L is the mean of
both modalities' distances: `cosine` mean_i [1 - cos(P x_i, t_i)], `mse` mean_i ||P x_i - t_i||^2, the square summed
over dimensions. For unit embeddings and P = 1 the second is twice the first. Every photo and every text there is
counts.
No pair of products is compared, so there is no false negative to mask.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.stateful import StatefulLoss
from pipeline_lib.losses.teachers import DistillationTeachers, select_teachers
from pipeline_lib.params.losses import FeatureDistance, FeatureDistillationParams

# Name -> function(student, teacher), both (rows, dim) -> distance of each row.
DISTANCES: dict[FeatureDistance, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": lambda student, teacher: 1 - functional.cosine_similarity(student, teacher, dim=1),
    "mse": lambda student, teacher: (student - teacher).pow(2).sum(dim=1),
}


def feature_distillation(student: Tensor, teacher: Tensor, distance: FeatureDistance) -> Tensor:
    """Return the mean distance of rows (rows, dim); 0 where there are none."""
    return DISTANCES[distance](student, teacher).sum() / max(1, len(student))


class FeatureDistillation(StatefulLoss):
    """Feature distillation of both modalities, the mean over its teachers; the maps are trained parameters."""

    def __init__(self, params: FeatureDistillationParams, lesson: DistillationTeachers) -> None:
        super().__init__()
        self.distance = params.distance
        self.select_teachers = select_teachers("feature_distillation", params.teachers, lesson.teachers, "retrieval")
        self.maps = nn.ModuleList(
            nn.ModuleDict({side: _map(lesson.student_dim, voice.teacher.dim) for side in ("image", "text")})
            for voice in self.select_teachers
        )

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        assert outputs.image_embedding is not None and outputs.text_embedding is not None
        assert batch.teacher_image is not None and batch.teacher_text is not None
        keep = batch.has_text
        sides = {
            "image": (outputs.image_embedding, batch.teacher_image),
            "text": (outputs.text_embedding[keep], batch.teacher_text[keep]),
        }
        total = outputs.image_embedding.sum() * 0.0
        for voice, maps in zip(self.select_teachers, self.maps, strict=True):
            assert isinstance(maps, nn.ModuleDict)
            for side, (student, teacher) in sides.items():
                cost = feature_distillation(maps[side](student), teacher[:, voice.columns], self.distance)
                total = total + voice.share * cost / 2
        return total


def _map(student_dim: int, teacher_dim: int) -> nn.Module:
    return nn.Identity() if student_dim == teacher_dim else nn.Linear(student_dim, teacher_dim, bias=False)

"""Feature distillation: each embedding of the student follows the teacher's embedding of the same photo or text.

L is the mean of both modalities' distances: `cosine` mean_i [1 - cos(P x_i, t_i)], or `mse` mean_i ||P x_i - t_i||^2,
with x_i the student's embedding and t_i the teacher's. P is the identity, or where the dims differ a learned linear map
into the teacher's space (FitNets, Romero et al. 2015, arXiv:1412.6550; between CLIP models Yang et al. 2023,
arXiv:2307.12732). The squared norm is summed over dims; for unit embeddings and P = 1 `mse` is twice `cosine`.
All photos and all texts count. No pair of products is compared, so there are no false negatives to mask.
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
    """Return the mean distance of the rows of two matrices (rows, dim); 0 if there are no rows."""
    return DISTANCES[distance](student, teacher).sum() / max(1, len(student))


class FeatureDistillation(StatefulLoss):
    """Feature distillation of both modalities, averaged over its teachers; the maps P are trained parameters."""

    def __init__(self, params: FeatureDistillationParams, teachers: DistillationTeachers) -> None:
        super().__init__()
        self.distance = params.distance
        self.slices = select_teachers("feature_distillation", params.teachers, teachers.teachers, "retrieval")
        self.maps = nn.ModuleList(
            nn.ModuleDict({side: _map(teachers.student_dim, one.teacher.dim) for side in ("image", "text")})
            for one in self.slices
        )

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        assert outputs.image_embedding is not None and outputs.text_embedding is not None
        assert batch.teacher_image is not None and batch.teacher_text is not None
        has_text = batch.has_text
        sides = {
            "image": (outputs.image_embedding, batch.teacher_image),
            "text": (outputs.text_embedding[has_text], batch.teacher_text[has_text]),
        }
        total = outputs.image_embedding.sum() * 0.0
        for one, maps in zip(self.slices, self.maps, strict=True):
            assert isinstance(maps, nn.ModuleDict)
            for side, (student, teacher) in sides.items():
                loss = feature_distillation(maps[side](student), teacher[:, one.columns], self.distance)
                total = total + one.weight * loss / 2
        return total


def _map(student_dim: int, teacher_dim: int) -> nn.Module:
    return nn.Identity() if student_dim == teacher_dim else nn.Linear(student_dim, teacher_dim, bias=False)

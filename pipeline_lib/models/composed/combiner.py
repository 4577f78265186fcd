"""The Combiner of CLIP4Cir (Baldrati et al. 2022, CVPR workshops; arXiv:2308.11485).

With x = [dropout relu(P_t text); dropout relu(P_i image)]: query = norm(MLP(x) + g * text + (1 - g) * image), where
g = sigmoid(MLP_g(x)) is one number a query. Here image and text are unit embeddings of the joint space.
"""

import torch
from torch import Tensor, nn

from pipeline_lib.models.composed.sum import SumModel
from pipeline_lib.towers.tower import Description


class CombinerModel(SumModel):
    """The sum's maps into the joint space, then the Combiner instead of the sum."""

    def __init__(self, description: Description) -> None:
        super().__init__(description)
        dim, options = description["embedding_dim"], description["combiner"]
        projection, hidden, dropout = options["projection"], options["hidden"], options["dropout"]

        def widened(width: int, out: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(width, out), nn.ReLU(), nn.Dropout(dropout))

        self.text_layer = widened(dim, projection)
        self.image_layer = widened(dim, projection)
        self.mixture = nn.Sequential(*widened(2 * projection, hidden), nn.Linear(hidden, dim))
        self.weight = nn.Sequential(*widened(2 * projection, hidden), nn.Linear(hidden, 1), nn.Sigmoid())

    def combine(self, image: Tensor, text: Tensor) -> Tensor:
        """Return queries (batch, dim), of any length, of unit embeddings (batch, dim) of image and text."""
        both = torch.cat([self.text_layer(text), self.image_layer(image)], dim=-1)
        weight = self.weight(both)
        output: Tensor = self.mixture(both) + weight * text + (1 - weight) * image
        return output

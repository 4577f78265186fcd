"""Head alignment: matched pairs move together in the joint space; optionally each head's embeddings spread out.

Alignment and uniformity of Wang & Isola 2020 (arXiv:2005.10242), between the two projected heads x (image), y (text):
L = mean_i ||x_i - y_i||^2 + uniformity * 1/2 [u(x) + u(y)], u(x) = log mean_{i != j} exp(-2 ||x_i - x_j||^2).
Log D's `headalign` run does not define its loss; this is our definition. The first term alone has its minimum where
all embeddings are equal, so combine it with a contrastive loss, or set uniformity > 0.
"""

from torch import Tensor

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.pairs import negatives, pairs_of

SHARPNESS = 2.0  # t of the paper


def alignment(image: Tensor, text: Tensor) -> Tensor:
    """Return the mean squared distance of matched embeddings (batch, dim); 0 for an empty batch."""
    return (image - text).pow(2).sum() / max(1, len(image))


def uniformity(embedding: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Return log mean exp(-2 ||x_i - x_j||^2) over i != j of embeddings (batch, dim); at most 0.

    Pairs in `ignore` (batch, batch) bool are excluded. The result is 0 if no pair remains.
    """
    negative = negatives(len(embedding), ignore, embedding.device)
    if not negative.any():
        return embedding.sum() * 0.0
    squared_norm = embedding.pow(2).sum(dim=1)
    # Not cdist: its square root has no gradient where two embeddings are equal.
    squared = squared_norm[:, None] + squared_norm[None, :] - 2 * embedding @ embedding.T
    return squared[negative].mul(-SHARPNESS).exp().mean().log()


class HeadAlignment:
    """Alignment plus weighted uniformity of the two heads, over the products of a batch that have a text."""

    def __init__(self, uniformity: float, mask_false_negatives: bool) -> None:
        self.uniformity = uniformity
        self.mask_false_negatives = mask_false_negatives

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        pairs = pairs_of(outputs, batch, self.mask_false_negatives)
        loss = alignment(pairs.image, pairs.text)
        if self.uniformity:
            spread = (uniformity(pairs.image, pairs.ignore) + uniformity(pairs.text, pairs.ignore)) / 2
            loss = loss + self.uniformity * spread
        return loss

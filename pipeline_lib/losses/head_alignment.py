"""Head alignment: matched pairs are drawn together in the joint space, and each head may be asked to spread out.

Alignment and uniformity of Wang & Isola 2020 (arXiv:2005.10242), between the two projected heads x (image), y (text):
L = mean_i ||x_i - y_i||^2 + uniformity * 1/2 [u(x) + u(y)], u(x) = log mean_{i != j} exp(-2 ||x_i - x_j||^2).
Log D's `headalign` run does not define its loss; this is our definition. The first term alone is least when
everything is one point, so it belongs beside a contrastive loss, or with uniformity > 0.
"""

from torch import Tensor

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.pairs import negatives, pairs_of

SHARPNESS = 2.0  # t of the paper


def alignment(image: Tensor, text: Tensor) -> Tensor:
    """Return the mean squared distance of matched embeddings (batch, dim); 0 for an empty batch."""
    return (image - text).pow(2).sum() / max(1, len(image))


def uniformity(embedding: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Return log mean exp(-2 ||x_i - x_j||^2) over i != j of (batch, dim), at most 0; `ignore` leaves pairs out.

    0 where no two products are left to compare.
    """
    counted = negatives(len(embedding), ignore, embedding.device)
    if not counted.any():
        return embedding.sum() * 0.0
    length = embedding.pow(2).sum(dim=1)
    # Not cdist: the root in it has no gradient where two embeddings are equal.
    squared = length[:, None] + length[None, :] - 2 * embedding @ embedding.T
    return squared[counted].mul(-SHARPNESS).exp().mean().log()


class HeadAlignment:
    """Alignment of the two heads, with a share of uniformity, over the products of a batch that have a text."""

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

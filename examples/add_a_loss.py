"""Adds a loss: supervised contrastive learning between photos and texts (Khosla et al. 2020, arXiv:2004.11362).

    python examples/add_a_loss.py

In InfoNCE only a product's own text is its positive. Here every text of a product with the same label is one. To make
it part of the pipeline, move `SupCon` to pipeline_lib/losses/supcon.py and its params to pipeline_lib/params/losses.py,
add a line to LOSSES in pipeline_lib/losses/build.py and to LOSS_HEADS in pipeline_lib/params/heads.py, and a section to
params.yaml.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.build import LOSSES, Loss
from pipeline_lib.params.section import Keys


class SupConParams(Keys):
    """Supervised contrastive loss between photos and texts."""

    weight: float


def supcon(image: Tensor, text: Tensor, scale: Tensor, label: Tensor) -> Tensor:
    """Return the mean over rows of -log softmax, averaged over each row's positives.

    Embeddings are (batch, dim), `label` (batch,) with -1 for unknown: such a row has its own text as its only positive.
    """
    same = (label[:, None] == label[None, :]) & (label[:, None] >= 0)
    positive = (same | torch.eye(len(label), dtype=torch.bool, device=label.device)).float()
    likely = (scale * image @ text.T).log_softmax(dim=1)
    return -((likely * positive).sum(dim=1) / positive.sum(dim=1)).mean()


class SupCon:
    """The loss as the pipeline calls it: outputs and a batch in, a scalar out."""

    def __init__(self, params: SupConParams) -> None:
        self.params = params

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss."""
        assert outputs.image_embedding is not None
        assert outputs.text_embedding is not None
        assert outputs.logit_scale is not None
        return supcon(outputs.image_embedding, outputs.text_embedding, outputs.logit_scale, batch.label)


def slow_supcon(image: Tensor, text: Tensor, scale: float, label: list[int]) -> float:
    """The same, term by term; a new loss is tested against such a loop."""
    total = 0.0
    for i, own in enumerate(label):
        scores = [scale * float(image[i] @ text[j]) for j in range(len(label))]
        norm = math.log(sum(math.exp(score) for score in scores))
        positives = [j for j, other in enumerate(label) if j == i or (own >= 0 and own == other)]
        total += sum(norm - scores[j] for j in positives) / len(positives)
    return total / len(label)


def train(loss: Loss, steps: int) -> list[float]:
    """Train free embeddings of 12 products in 3 classes with the loss; return its value at each step."""
    generator = torch.Generator().manual_seed(3)
    label = torch.arange(12) % 3
    rows = torch.arange(12)
    batch = Batch(product=rows, group=rows, text=rows, has_text=torch.ones(12, dtype=torch.bool), label=label)
    image, text = (torch.randn(12, 8, generator=generator).requires_grad_() for _ in range(2))
    optimizer = torch.optim.AdamW([image, text], lr=0.05)
    values = []
    for _ in range(steps):
        outputs = Outputs(
            image_embedding=functional.normalize(image, dim=1),
            text_embedding=functional.normalize(text, dim=1),
            logit_scale=torch.tensor(10.0),
        )
        value = loss(outputs, batch)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values.append(value.item())
    return values


def main() -> None:
    """Register the loss, compare it with the loop, and train with it."""
    # The builder also gets the number of training products of each class; this loss does not need them.
    LOSSES["supcon"] = lambda params, _: SupCon(params)
    loss = LOSSES["supcon"](SupConParams(weight=1.0), ())
    image, text = (functional.normalize(torch.randn(6, 4), dim=1) for _ in range(2))
    fast = float(supcon(image, text, torch.tensor(5.0), torch.tensor([0, 1, 0, -1, 1, -1])))
    slow = slow_supcon(image, text, 5.0, [0, 1, 0, -1, 1, -1])
    print(f"vectorised {fast:.6f}, loop {slow:.6f}")
    values = train(loss, steps=60)
    print(f"loss of the first step {values[0]:.3f}, of the last {values[-1]:.3f}")
    del LOSSES["supcon"]


if __name__ == "__main__":
    main()

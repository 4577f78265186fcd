"""InfoNCE with more negatives: the last embeddings of each modality are kept in a queue and stand as negatives.

With momentum 0 the queue holds the model's own past embeddings (cross-batch memory, Wang et al. 2020,
arXiv:1912.06798); with momentum > 0 those of a slow copy of the model, which then also gives the keys of the batch, so
that positives and negatives come from one encoder (MoCo, He et al. 2020, arXiv:1911.05722; for two towers ALBEF,
Li et al. 2021, arXiv:2107.07651). The copy itself is the task's business.

Log A's queue collapsed (MeanRecall .310 -> .126) and the log does not say why. Two things set a queue against its own
batch, and both are kept out here. (1) The towers move fastest at first, so what the first steps queue lies where no
embedding is any more (the drift that arXiv:1912.06798 measures and waits for): the queue fills from the first step
and counts only from `start_epoch`. (2) An epoch later it holds the very products of the batch, and pushes each from
its own past embedding: entries that share product, group or text with the anchor, or answer its text, are masked. On
the toy model of the tests the second is what counts: unmasked, the joint space closes up (matched pairs hardly differ
from others).
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.info_nce import info_nce
from pipeline_lib.losses.pairs import Pairs, negatives, pairs_of, per_direction
from pipeline_lib.losses.stateful import StatefulLoss
from pipeline_lib.params.losses import MemoryQueueParams

IDS = ("product", "group", "text_id")


def contrast(
    anchor: Tensor, keys: Tensor, queue: Tensor, scale: Tensor, ignore: Tensor | None, known: Tensor | None
) -> Tensor:
    """Return mean_i -log softmax_i over [keys; queue] of scale * <anchor_i, .>, the positive of row i being keys_i.

    anchor and keys (batch, dim), queue (held, dim); `ignore` (batch, batch) and `known` (batch, held) bool leave
    pairs out, the diagonal excepted.
    """
    logits = scale * anchor @ torch.cat([keys, queue]).T
    count = len(anchor)
    left_out = ~negatives(count, ignore, anchor.device)
    left_out.fill_diagonal_(False)
    if known is None:
        known = torch.zeros(count, len(queue), dtype=torch.bool, device=anchor.device)
    logits = logits.masked_fill(torch.cat([left_out, known], dim=1), float("-inf"))
    return functional.cross_entropy(logits, torch.arange(count, device=anchor.device))


def answering(answers: Tensor, texts: Tensor) -> Tensor:
    """Return (products, texts) bool: True where one of a product's `answers` (products, most) is the text."""
    found = torch.zeros(len(answers), len(texts), dtype=torch.bool, device=answers.device)
    for column in answers.T:  # one at a time: (products, most, texts) of a long queue would not fit
        found |= column[:, None] == texts
    return found


class MemoryQueue(StatefulLoss):
    """InfoNCE over a batch and the queue; before `start_epoch`, and outside training, exactly InfoNCE."""

    def __init__(self, params: MemoryQueueParams) -> None:
        super().__init__()
        self.params = params
        self._counts = False
        # Empty until the first batch shows the width; then "image" and "text" (held, dim), oldest first, the ids, and
        # "answers" (held, most), the texts that each product answers, filled up with -1.
        self._held: dict[str, Tensor] = {}

    def begin_epoch(self, epoch: int) -> None:
        """Let the queue count from `start_epoch` on."""
        self._counts = epoch >= self.params.start_epoch

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return what is queued; its length changes, so it is no buffer."""
        return self._held

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `get_extra_state` gave."""
        self._held = state

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar; in training, queue the batch afterwards, so that it is never its own negative."""
        pairs = pairs_of(outputs, batch, self.params.mask_false_negatives)
        keys = self._keys(outputs, batch, pairs)
        ids = {"product": batch.product, "group": batch.group, "text_id": batch.text}
        ids["answers"] = batch.text[:, None] if batch.answers is None else batch.answers
        ids = {name: value[batch.rows_with_text()] for name, value in ids.items()}
        if not (self.training and self._counts and self._held and len(pairs.image)):
            loss = info_nce(pairs.image, pairs.text, pairs.scale, pairs.ignore)
        else:
            loss = self._loss(pairs, keys, ids)
        if self.training:
            self._enqueue({**keys, **ids})
        return loss

    def _keys(self, outputs: Outputs, batch: Batch, pairs: Pairs) -> dict[str, Tensor]:
        if not (self.training and self.params.momentum):
            return {"image": pairs.image, "text": pairs.text}
        assert outputs.momentum_image_embedding is not None and outputs.momentum_text_embedding is not None
        keep = batch.rows_with_text()
        return {"image": outputs.momentum_image_embedding[keep], "text": outputs.momentum_text_embedding[keep]}

    def _loss(self, pairs: Pairs, keys: dict[str, Tensor], ids: dict[str, Tensor]) -> Tensor:
        device = pairs.image.device
        held = {name: value.to(device) for name, value in self._held.items()}
        texts = images = None
        if self.params.mask_false_negatives:
            same = torch.stack([ids[name][:, None] == held[name][None, :] for name in IDS]).any(dim=0)
            texts = same | answering(ids["answers"], held["text_id"])
            images = same | answering(held["answers"], ids["text_id"]).T
        to_image, to_text = per_direction(pairs.scale)
        back = pairs.ignore.T if pairs.ignore is not None else None
        return (
            contrast(pairs.image, keys["text"], held["text"], to_text, pairs.ignore, texts)
            + contrast(pairs.text, keys["image"], held["image"], to_image, back, images)
        ) / 2

    def _enqueue(self, new: dict[str, Tensor]) -> None:
        added = {name: value.detach() for name, value in new.items()}
        held = dict(self._held) or {name: value[:0] for name, value in added.items()}
        size = self.params.size
        most = max(added["answers"].shape[1], held["answers"].shape[1])
        for answers in (added, held):
            short = most - answers["answers"].shape[1]
            answers["answers"] = functional.pad(answers["answers"], (0, short), value=-1)
        self._held = {
            name: torch.cat([held[name].to(value.device), value])[-size:].clone() for name, value in added.items()
        }

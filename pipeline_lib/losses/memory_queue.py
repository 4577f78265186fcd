"""InfoNCE with a memory queue: the latest embeddings of each modality serve as additional negatives.

With momentum 0 the queue holds the model's own past embeddings (cross-batch memory, Wang et al. 2020,
arXiv:1912.06798). With momentum > 0 it holds those of a momentum encoder, which then also gives the keys of the batch,
so that positives and negatives come from one encoder (MoCo, He et al. 2020, arXiv:1911.05722; for two towers ALBEF,
Li et al. 2021, arXiv:2107.07651). The task owns the momentum encoder.

Log A's queue collapsed (MeanRecall .310 -> .126), and the log gives no reason. Two effects are prevented here:
(1) Drift. The towers move fastest in the first steps, so embeddings queued then are soon outdated (measured in
arXiv:1912.06798). The queue fills from the first step, but is used only from `start_epoch`. (2) False negatives. One
epoch later the queue holds the products of the current batch. Entries with the anchor's product, group or text are
masked, and so are texts that are relevant to the anchor's product. In the toy model of the tests the second effect
decides: without the mask, matched pairs end up hardly more similar than other pairs.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.info_nce import info_nce
from pipeline_lib.losses.pairs import Pairs, is_answer, negatives, pairs_of, per_direction
from pipeline_lib.losses.stateful import StatefulLoss
from pipeline_lib.params.losses import MemoryQueueParams

IDS = ("product", "group", "text_id")


def contrast(
    anchor: Tensor, keys: Tensor, queue: Tensor, scale: Tensor, ignore: Tensor | None, ignore_queue: Tensor | None
) -> Tensor:
    """Return mean_i -log softmax_i over [keys; queue] of scale * <anchor_i, .>, where keys_i is the positive of row i.

    anchor and keys (batch, dim), queue (queued, dim). Pairs in `ignore` (batch, batch) and `ignore_queue`
    (batch, queued), both bool, are excluded, the diagonal of `ignore` never.
    """
    logits = scale * anchor @ torch.cat([keys, queue]).T
    count = len(anchor)
    excluded = ~negatives(count, ignore, anchor.device)
    excluded.fill_diagonal_(False)
    if ignore_queue is None:
        ignore_queue = torch.zeros(count, len(queue), dtype=torch.bool, device=anchor.device)
    logits = logits.masked_fill(torch.cat([excluded, ignore_queue], dim=1), float("-inf"))
    return functional.cross_entropy(logits, torch.arange(count, device=anchor.device))


class MemoryQueue(StatefulLoss):
    """InfoNCE over a batch and the queue; plain InfoNCE before `start_epoch` and in evaluation mode."""

    def __init__(self, params: MemoryQueueParams) -> None:
        super().__init__()
        self.params = params
        self._active = False
        # Empty until the first batch gives the dims. Then "image" and "text" (queued, dim), oldest first, their IDS,
        # and "answers" (queued, n), the texts relevant to each product, padded with -1.
        self._queue: dict[str, Tensor] = {}

    def begin_epoch(self, epoch: int) -> None:
        """Use the queue from `start_epoch` on."""
        self._active = epoch >= self.params.start_epoch

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return the queue; it is not a buffer because its length changes."""
        return self._queue

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Restore the queue from `get_extra_state`."""
        self._queue = state

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar; in training, queue the batch afterwards, so it is never its own negative."""
        pairs = pairs_of(outputs, batch, self.params.mask_false_negatives)
        keys = self._keys(outputs, batch, pairs)
        ids = {"product": batch.product, "group": batch.group, "text_id": batch.text}
        ids["answers"] = batch.text[:, None] if batch.answers is None else batch.answers
        ids = {name: value[batch.rows_with_text()] for name, value in ids.items()}
        if not (self.training and self._active and self._queue and len(pairs.image)):
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
        rows = batch.rows_with_text()
        return {"image": outputs.momentum_image_embedding[rows], "text": outputs.momentum_text_embedding[rows]}

    def _loss(self, pairs: Pairs, keys: dict[str, Tensor], ids: dict[str, Tensor]) -> Tensor:
        device = pairs.image.device
        queue = {name: value.to(device) for name, value in self._queue.items()}
        ignore_texts = ignore_images = None
        if self.params.mask_false_negatives:
            same = torch.stack([ids[name][:, None] == queue[name][None, :] for name in IDS]).any(dim=0)
            ignore_texts = same | is_answer(ids["answers"], queue["text_id"])
            ignore_images = same | is_answer(queue["answers"], ids["text_id"]).T
        to_image, to_text = per_direction(pairs.scale)
        transposed = pairs.ignore.T if pairs.ignore is not None else None
        return (
            contrast(pairs.image, keys["text"], queue["text"], to_text, pairs.ignore, ignore_texts)
            + contrast(pairs.text, keys["image"], queue["image"], to_image, transposed, ignore_images)
        ) / 2

    def _enqueue(self, new: dict[str, Tensor]) -> None:
        added = {name: value.detach() for name, value in new.items()}
        queue = dict(self._queue) or {name: value[:0] for name, value in added.items()}
        size = self.params.size
        longest = max(added["answers"].shape[1], queue["answers"].shape[1])
        for entries in (added, queue):
            missing = longest - entries["answers"].shape[1]
            entries["answers"] = functional.pad(entries["answers"], (0, missing), value=-1)
        self._queue = {
            name: torch.cat([queue[name].to(value.device), value])[-size:].clone() for name, value in added.items()
        }

"""Checks of a model with its first inputs, before its first step: what would train to no effect, or stop in a step."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline_lib.loading.products import Products, text_key
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.params.requirements import HEAD_METRICS
from pipeline_lib.stores.activations import ActivationStore
from pipeline_lib.stores.store import FeatureStore
from pipeline_lib.towers.probe import fails_on_one_row

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
# Texts that are compared; each is one row of one forward pass.
NUM_TEXTS = 32
# Distance, as a share of the largest vector, up to which two vectors count as equal.
EQUAL = 1e-6
# The same for stored features. Rounding to bfloat16 moves a vector by up to 1 / 512 of its length.
CLEARLY = 1e-2


def check_texts_differ(
    with_towers: Callable[[], ImageTextModel],
    tokenize: Callable[[list[str]], tuple[IntArray, BoolArray]],
    texts: Sequence[str],
    setting: str,
    stored: FeatureStore | ActivationStore | None = None,
) -> None:
    """Raise ValueError if the text tower gives two different texts the same features; `setting` is the pooling's value.

    Texts of the same tokens (unknown words, truncation) count as one text. If the tower's `stored` features differ
    clearly, the tower does not run, and the model is not asked for.
    """
    by_tokens: dict[tuple[int, ...], str] = {}
    for text in dict.fromkeys(texts):
        ids, mask = tokenize([text])
        by_tokens.setdefault(tuple(ids[0][mask[0]].tolist()), text)
        if len(by_tokens) == NUM_TEXTS:
            break
    different = list(by_tokens.values())
    if len(different) < 2 or (isinstance(stored, FeatureStore) and _differ_clearly(stored, different)):
        return
    rows, row_masks = (torch.as_tensor(part) for part in tokenize(different))
    model = with_towers()
    with _evaluating(model), torch.no_grad():
        features = model.encode_text(rows, row_masks).double()
    equal = _equal_pairs(features, EQUAL)
    if equal:
        first, second = (different[row] for row in equal[0])
        raise ValueError(
            f"model.text.pooling = {setting!r}: the text tower gives {first!r} and {second!r} the same vector "
            f"({len(equal)} such pairs among {len(different)} texts); set another pooling, e.g. mean, or other weights"
        )


def _differ_clearly(stored: FeatureStore, texts: Sequence[str]) -> bool:
    return not _equal_pairs(torch.from_numpy(stored.rows([text_key(text) for text in texts])).double(), CLEARLY)


def _equal_pairs(features: Tensor, share: float) -> list[list[int]]:
    """Return the pairs of rows whose distance is at most a share of the longest row."""
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    pairs: list[list[int]] = (distances <= share * features.norm(dim=1).max()).triu(1).nonzero().tolist()
    return pairs


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, without dropout and its draws, and then each part back into its own mode."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def check_held_out_labels(best_metric: str, losses: Collection[str], labels: IntArray, fold: int) -> None:
    """Raise ValueError if `best_metric` measures classes, and no held-out product (n,) has one that is learned (>= 0).

    `losses` are the names of those that are on: the value of cross-entropy alone is that of labels, too.
    """
    of_classes = best_metric in HEAD_METRICS["classification"] or (
        best_metric == "loss" and set(losses) == {"cross_entropy"}
    )
    if of_classes and not (labels >= 0).any():
        raise ValueError(
            f"fold {fold}: train.best_metric = {best_metric!r} measures classes, but no held-out product has a label "
            "that the other folds train on; correct the labels or the folds, or leave the fold out of plan.folds"
        )


def check_pairs(losses: Sequence[str], training: Products, fold: int) -> None:
    """Raise ValueError if `losses` are on, which compare pairs, and fewer than 2 products to train on have a text."""
    filled = np.array([bool(text) for text in training.texts], bool)
    owner, text = (np.arange(len(training)), training.text) if training.captions is None else training.captions.pairs()
    described = len(np.unique(owner[filled[text]]))
    if losses and described < 2:
        raise ValueError(
            f"fold {fold}: losses.{losses[0]} learns from the other products of a step, but {described} of "
            f"{len(training)} products to train on {'has' if described == 1 else 'have'} a text; add products, or set "
            f"losses.{losses[0]}.weight = 0"
        )


def check_batch_rows(model: ImageTextModel, rows: int) -> None:
    """Raise ValueError if batches have one row and the image tower's batch norm cannot train on one."""
    description = model.description["image"]
    if rows == 1 and (reason := fails_on_one_row(description)):
        raise ValueError(
            f"train.batch_size: a process has 1 row a batch, and {description.get('architecture', 'the image tower')} "
            f"cannot train on 1 ({reason}); set train.batch_size to at least 2 for each process"
        )

"""Losses of composed retrieval against slow loops, with known positives, further negatives and several vectors."""

import math

import pytest
import torch
from torch.nn import functional

from pipeline_lib.losses.composed_build import COMPOSED_LOSSES, READS, composed_loss_weights
from pipeline_lib.losses.composed_contrast import composed_contrast
from pipeline_lib.losses.composed_pairs import ComposedPairs, similarity
from pipeline_lib.losses.patch_contrast import patch_contrast
from pipeline_lib.losses.prompt_contrast import prompt_contrast
from pipeline_lib.losses.query_alignment import query_alignment
from pipeline_lib.params.composed import ComposedLossesParams

BATCH, GALLERY, VECTORS, PATCHES, DIM = 5, 8, 3, 4, 6


def unit(*shape, seed):
    draw = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(*shape, generator=draw, dtype=torch.float64), dim=-1)


def made_pairs(vectors=VECTORS, positives=True):
    mask = torch.zeros(BATCH, GALLERY, dtype=torch.bool)
    for row, column in ((0, 0), (0, 3), (1, 2), (4, 4), (4, 7)):  # own targets, other rows' targets, a further one
        mask[row, column] = True
    extra = {
        "prompt_query": unit(BATCH, DIM, seed=3),
        "query_mean": unit(BATCH, DIM, seed=4),
        "prompt_mean": unit(BATCH, DIM, seed=5),
        "patches": unit(GALLERY, PATCHES, DIM, seed=6),
    }
    scale = torch.tensor(7.0, dtype=torch.float64)
    return ComposedPairs(
        unit(BATCH, DIM, seed=1), unit(GALLERY, vectors, DIM, seed=2), scale, mask if positives else None, extra
    )


def slow_contrast(query, score, positives):
    """Return the mean of -log softmax at the own target; `score(i, j)` is a scaled similarity."""
    total = 0.0
    for i in range(BATCH):
        counted = [j for j in range(GALLERY) if j == i or positives is None or not positives[i, j]]
        total -= score(i, i) - math.log(sum(math.exp(score(i, j)) for j in counted))
    return total / BATCH


@pytest.mark.parametrize("positives", [True, False])
@pytest.mark.parametrize("vectors", [1, VECTORS])
@pytest.mark.parametrize(("loss", "side"), [(composed_contrast, "query"), (prompt_contrast, "prompt_query")])
def test_contrasts_equal_a_slow_loop(loss, side, vectors, positives):
    pairs = made_pairs(vectors, positives)
    query = pairs.query if side == "query" else pairs.extra[side]

    def score(i, j):
        return 7.0 * max(float(query[i] @ vector) for vector in pairs.targets[j])

    assert float(loss(pairs)) == pytest.approx(slow_contrast(query, score, pairs.positives), abs=1e-9)


@pytest.mark.parametrize("positives", [True, False])
def test_patch_contrast_equals_a_slow_loop(positives):
    pairs = made_pairs(positives=positives)

    def score(i, j):
        cosines = [float(pairs.query[i] @ patch) for patch in pairs.extra["patches"][j]]
        weights = [math.exp(7.0 * cosine) for cosine in cosines]
        attended = sum(weight * cosine for weight, cosine in zip(weights, cosines, strict=True)) / sum(weights)
        return 7.0 * attended

    assert float(patch_contrast(pairs)) == pytest.approx(slow_contrast(pairs.query, score, pairs.positives), abs=1e-9)


def test_query_alignment_equals_a_slow_loop_and_does_not_train_the_prompts():
    pairs = made_pairs()
    mean, prompt = (pairs.extra[name].requires_grad_() for name in ("query_mean", "prompt_mean"))
    loss = query_alignment(pairs)
    rows = zip(mean.tolist(), prompt.tolist(), strict=True)
    squares = [(one - other) ** 2 for row in rows for one, other in zip(*row, strict=True)]
    assert loss.item() == pytest.approx(sum(squares) / len(squares), abs=1e-12)
    loss.backward()
    assert mean.grad.abs().sum() > 0 and prompt.grad is None


@pytest.mark.parametrize("loss", [composed_contrast, prompt_contrast, patch_contrast])
def test_a_target_that_may_answer_every_query_gets_no_gradient(loss):
    pairs = made_pairs()
    only = pairs.positives.clone()
    only[:, 7] = True
    pairs = ComposedPairs(pairs.query, pairs.targets.requires_grad_(), pairs.scale, only, pairs.extra)
    pairs.extra["patches"].requires_grad_()
    loss(pairs).backward()
    gradient = (pairs.targets if loss is not patch_contrast else pairs.extra["patches"]).grad
    assert gradient[7].abs().sum() == 0 and gradient[6].abs().sum() > 0


def test_similarity_is_that_of_the_best_vector():
    pairs = made_pairs()
    slow = [[max(float(q @ v) for v in target) for target in pairs.targets] for q in pairs.query]
    torch.testing.assert_close(similarity(pairs.query, pairs.targets), torch.tensor(slow, dtype=torch.float64))


@pytest.mark.parametrize("name", COMPOSED_LOSSES)
def test_an_empty_batch_costs_nothing(name):
    pairs = made_pairs()
    extra = {key: value[:0] for key, value in pairs.extra.items()} | {"patches": pairs.extra["patches"]}
    empty = ComposedPairs(pairs.query[:0], pairs.targets, pairs.scale, pairs.positives[:0], extra)
    assert float(COMPOSED_LOSSES[name](empty)) == 0.0


def test_a_model_trains_with_the_losses_that_it_serves():
    params = ComposedLossesParams(composed_contrast=1, prompt_contrast=0.4, query_alignment=0, patch_contrast=0.2)
    assert composed_loss_weights(params, ()) == {"composed_contrast": 1.0}
    gives = {"prompt_query", "query_mean", "prompt_mean"}
    assert composed_loss_weights(params, gives) == {"composed_contrast": 1.0, "prompt_contrast": 0.4}
    assert composed_loss_weights(params, gives | {"patches"})["patch_contrast"] == 0.2
    prompts_alone = params.model_copy(update={"composed_contrast": 0.0, "patch_contrast": 0.0})
    with pytest.raises(ValueError, match=r"no loss under composed.losses trains this model; give .*composed_contrast"):
        composed_loss_weights(prompts_alone, ())


def test_every_loss_reads_what_its_row_says():
    assert READS.keys() == COMPOSED_LOSSES.keys() == ComposedLossesParams.model_fields.keys()
    pairs = made_pairs()
    for name, loss in COMPOSED_LOSSES.items():
        only = {key: value for key, value in pairs.extra.items() if key in READS[name]}
        loss(ComposedPairs(pairs.query, pairs.targets, pairs.scale, pairs.positives, only))

"""Settings that give a loss nothing to compare: one product a step, or one target a batch."""

from pathlib import Path

import pytest
import torch

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.build import LOSSES
from pipeline_lib.params.composed import ComposedParams
from pipeline_lib.params.heads import LOSS_HEADS
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.negatives import COMPARES_PAIRS, COMPARES_TARGETS, pair_losses, target_loss
from pipeline_lib.params.requirements import check_batches, check_composed
from pipeline_lib.params.section import load_params, parse_section

ROOT = Path(__file__).parents[2]
PATH = Path("params.yaml")


def params(losses, **train):
    """Return params.yaml with only these losses on, and settings of train."""
    loaded = load_params(ROOT / "params.yaml")
    for name in LOSS_HEADS:
        loaded["losses"][name]["weight"] = float(name in losses)
    loaded["train"] |= {"best_metric": "MeanRecall", "batch_size": 1, **train}
    return loaded


def test_every_loss_is_known_to_compare_pairs_or_not():
    assert set(COMPARES_PAIRS) == set(LOSS_HEADS)


@pytest.mark.parametrize("name", [name for name, head in LOSS_HEADS.items() if head == "retrieval" and name in LOSSES])
def test_a_loss_that_compares_pairs_has_no_gradient_from_one_or_only_pulls_it_together(name):
    loaded = params([name])
    loaded["losses"]["siglip"]["bias"] = -10.0
    settings = parse_section(LossesParams, loaded)
    loss = LOSSES[name](getattr(settings, name), ())
    image, text = (torch.nn.functional.normalize(torch.tensor([row]), dim=1) for row in ([1.0, 2.0], [2.0, -1.0]))
    moved = image.clone().requires_grad_()
    outputs = Outputs(image_embedding=moved, text_embedding=text, logit_scale=torch.tensor(5.0))
    one = torch.zeros(1, dtype=torch.long)
    batch = Batch(product=one, group=one, label=one, text=one, has_text=torch.ones(1, dtype=torch.bool))
    loss(outputs, batch).backward()
    assert COMPARES_PAIRS[name] and moved.grad is not None
    if name in ("siglip", "head_alignment"):
        assert (moved.grad @ text.T).item() < 0  # a step against it pulls the pair together, and nothing pushes
    else:
        assert moved.grad.abs().max() == 0


@pytest.mark.parametrize("name", [name for name, compares in COMPARES_PAIRS.items() if compares])
def test_one_product_a_step_is_refused_for_every_loss_that_compares_products(name):
    loaded = params([name, "cross_entropy"])
    loaded["losses"]["head_alignment"]["uniformity"] = 0.5
    loaded["losses"]["memory_queue"]["start_epoch"] = loaded["train"]["epochs"]
    line = rf"params\.yaml: losses\.{name} learns from the other products of a step, but train\.batch_size = 1 with "
    with pytest.raises(ValueError, match=line + r"train\.accumulate = 1 leaves none; set train\.batch_size to 2"):
        check_batches(loaded, PATH)
    for change in ({"batch_size": 2}, {"accumulate": 2}, {"epochs": 0}):
        check_batches(loaded | {"train": loaded["train"] | change}, PATH)


def test_losses_with_other_negatives_or_none_train_on_one_product_a_step():
    queue = params(["memory_queue"])
    queue["losses"]["memory_queue"]["start_epoch"] = queue["train"]["epochs"] - 1
    check_batches(queue, PATH)
    pulls = params(["head_alignment", "feature_distillation"])
    pulls["losses"]["head_alignment"]["uniformity"] = 0.0
    check_batches(pulls, PATH)
    check_batches(params(["cross_entropy"], best_metric="loss"), PATH)
    assert pair_losses(parse_section(LossesParams, queue), queued=False) == ["memory_queue"]


@pytest.mark.parametrize(("name", "accumulate"), [("info_nce", 4), ("memory_queue", 1)])
def test_the_loss_of_batches_of_one_chooses_no_epoch(name, accumulate):
    loaded = params([name], best_metric="loss", accumulate=accumulate)
    loaded["losses"]["memory_queue"]["start_epoch"] = 0
    with pytest.raises(ValueError, match=rf"train\.best_metric = 'loss' is measured in batches .*losses\.{name} has"):
        check_batches(loaded, PATH)


def test_a_phase_is_checked_with_its_own_batches():
    loaded = params(["info_nce"], batch_size=8)
    loaded["phases"] = {"head": {"batch_size": 1}, "train": {}}
    with pytest.raises(ValueError, match=r"phases\.head\.batch_size = 1 with phases\.head\.accumulate = 1"):
        check_batches(loaded, PATH)


def test_one_composed_query_to_train_on_is_a_batch_of_one():
    composed = parse_section(ComposedParams, params([])).model_copy(update={"batch_size": 64, "mining": "none"})
    assert target_loss(composed, 1) == "composed_contrast" and target_loss(composed, 2) is None
    assert target_loss(composed.model_copy(update={"mining": "hard", "epochs": 2}), 1) is None


@pytest.mark.parametrize("name", COMPARES_TARGETS)
def test_a_composed_batch_of_one_query_needs_mined_targets(name):
    loaded = params(["info_nce"])
    loaded["plan"] |= {"composed": ["sum"], "features": ["trunk"]}
    loaded["features"]["trunk"]["at"] = "tokens"
    loaded["composed"] |= {"batch_size": 1, "mining": "none", "epochs": 2}
    losses = dict.fromkeys(loaded["composed"]["losses"], 0.0)
    loaded["composed"]["losses"] = losses | {name: 1.0}
    for change in ({}, {"mining": "hard", "epochs": 1}):
        with pytest.raises(ValueError, match=rf"composed\.losses\.{name} learns from the other targets of a batch"):
            check_composed(loaded | {"composed": loaded["composed"] | change}, PATH)
    for change in ({"mining": "hard"}, {"batch_size": 2}, {"epochs": 0}, {"losses": losses | {"query_alignment": 1.0}}):
        check_composed(loaded | {"composed": loaded["composed"] | change}, PATH)

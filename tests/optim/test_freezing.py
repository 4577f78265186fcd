import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from pipeline_lib.batch import LayerGroup
from pipeline_lib.optim.freezing import set_epoch, set_frozen_eval, unfreeze_epochs
from pipeline_lib.optim.param_groups import build_adamw, group_lrs, split_decay, tower_groups
from pipeline_lib.optim.schedules import lr_factor, set_lr
from pipeline_lib.params.section import load_params
from pipeline_lib.params.train import TrainParams

FOLLOW = {"unfreeze_layers": None, "freeze_first": None, "embeddings": "follow"}


def params(text=None, **changes) -> TrainParams:
    """The train section of params.yaml with some keys changed; `text` changes that tower's rule."""
    towers = {"image": FOLLOW, "text": FOLLOW | (text or {})}
    return TrainParams.model_validate({**load_params()["train"], "epochs": 10, "towers": towers, **changes})


def step(epoch, layers, tower="text"):
    return {"epoch": epoch, "tower": tower, "layers": layers}


def tower():
    layers = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.Dropout(0.5))
    groups = [
        LayerGroup("stem", ("0.weight", "0.bias")),
        LayerGroup("norm", ("1.weight", "1.bias")),
        LayerGroup("last", ("2.weight", "2.bias")),
    ]
    return layers, groups


def freeze(model, groups, depth):
    set_epoch(model, groups, unfreeze_epochs(len(groups), "text", params(unfreeze_layers=depth)), 0)


depths = st.one_of(st.integers(0, 5), st.just("all"))


@given(st.lists(depths, min_size=1, max_size=4))
def test_only_the_last_call_counts(calls):
    """After any order of freezing and unfreezing, exactly the groups of the last depth are trained."""
    model, groups = tower()
    for depth in calls:
        freeze(model, groups, depth)
    count = 3 if calls[-1] == "all" else min(3, calls[-1])
    trained = {name for group in groups[3 - count :] for name in group.parameters}
    assert {name for name, value in model.named_parameters() if value.requires_grad} == trained


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"unfreeze_layers": 2}, [None, None, None, 0, 0]),
        ({"unfreeze_layers": 0}, [None] * 5),
        ({"unfreeze_layers": "all"}, [0] * 5),
        ({"unfreeze_layers": 9}, [0] * 5),
        ({"unfreeze_layers": 2, "text": {"unfreeze_layers": 1}}, [None, None, None, None, 0]),
        ({"unfreeze_layers": 0, "text": {"unfreeze_layers": "all"}}, [0] * 5),
        # Log B: "freeze 2" means the first two layers and the embeddings before them.
        ({"unfreeze_layers": 0, "text": {"freeze_first": 2}}, [None, None, None, 0, 0]),
        ({"unfreeze_layers": 0, "text": {"freeze_first": 0}}, [0] * 5),
        ({"unfreeze_layers": "all", "text": {"embeddings": "frozen"}}, [None, 0, 0, 0, 0]),
        ({"unfreeze_layers": 1, "text": {"embeddings": "open"}}, [0, None, None, None, 0]),
        ({"unfreeze_layers": 1, "schedule": [step(3, 2), step(5, "all")]}, [5, 5, 5, 3, 0]),
        ({"unfreeze_layers": 0, "schedule": [step(5, 4), step(3, 1)]}, [None, 5, 5, 5, 3]),
        ({"unfreeze_layers": 0, "schedule": [step(3, 9)], "text": {"embeddings": "frozen"}}, [None, 3, 3, 3, 3]),
        ({"unfreeze_layers": 0, "schedule": [step(3, 2, "image")]}, [None] * 5),
    ],
)
def test_each_group_is_unfrozen_in_the_epoch_of_its_rule(changes, expected):
    """Hand-worked: five groups, stem first; the number is the first epoch of training."""
    assert unfreeze_epochs(5, "text", params(**changes)) == expected


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ([step(10, 3)], r"text at epoch 10, 3 layers: never reached, the last epoch of train.epochs = 10 is 9"),
        ([step(3, 3), step(4, 2)], r"text at epoch 4, 2 layers: all these groups are already trained by then"),
        ([step(3, 1)], r"text at epoch 3, 1 layers: all these groups"),
    ],
)
def test_a_step_without_effect_is_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        unfreeze_epochs(5, "text", params(unfreeze_layers=1, schedule=schedule))


def test_two_rules_for_one_tower_are_refused():
    with pytest.raises(ValidationError, match="are alternatives; set one of them to null"):
        params(text={"unfreeze_layers": 1, "freeze_first": 1})


@given(st.integers(1, 9), depths, st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=3))
def test_an_unfrozen_group_stays_unfrozen(count, depth, steps):
    """A property of every accepted schedule: groups are unfrozen from the head to the stem and never frozen again."""
    try:
        epochs = unfreeze_epochs(count, "text", params(unfreeze_layers=depth, schedule=[step(*one) for one in steps]))
    except ValueError:
        return
    order = [10 if epoch is None else epoch for epoch in epochs]
    assert order == sorted(order, reverse=True)


def test_frozen_norms_keep_their_statistics_and_trained_ones_update_them():
    for depth, updates in ((1, False), (2, True)):
        model, groups = tower()
        freeze(model, groups, depth)
        model.train()
        set_frozen_eval(model)
        before = model[1].running_mean.clone()
        model(torch.randn(8, 3) + 5)
        assert (not torch.equal(before, model[1].running_mean)) is updates


def test_all_norms_can_keep_their_statistics_while_their_weights_are_trained():
    model, groups = tower()
    freeze(model, groups, 2)
    model.train()
    set_frozen_eval(model, freeze_statistics=True)
    before, inputs = model[1].running_mean.clone(), torch.randn(8, 3) + 5
    assert torch.equal(model[1](inputs), model.eval()[1](inputs))
    assert torch.equal(before, model[1].running_mean)
    assert model[1].weight.requires_grad


def test_a_frozen_tower_has_no_dropout_and_a_trained_one_does():
    model, groups = tower()
    freeze(model, groups, 0)
    model.train()
    set_frozen_eval(model)
    assert not model[3].training
    freeze(model, groups, 1)
    model.train()
    set_frozen_eval(model)
    assert model[3].training


def test_layer_wise_decay_counts_from_the_head():
    """lr = base * decay ^ distance to the head, times a factor for groups that are unfrozen later."""
    train = params(unfreeze_layers=3, tower_lr=0.1, lr_decay=0.5, schedule=[step(2, 4)], unfreeze_lr_scale=0.2)
    assert group_lrs(unfreeze_epochs(5, "text", train), train) == pytest.approx([0.0, 0.1 / 8 * 0.2, 0.025, 0.05, 0.1])


def test_every_trained_parameter_is_in_exactly_one_optimizer_group():
    model, groups = tower()
    train = params(unfreeze_layers=1, lr_decay=0.5, schedule=[step(2, 3)])
    optimizer_groups = tower_groups(model, groups, unfreeze_epochs(3, "text", train), train, "text")
    ids = [id(value) for group in optimizer_groups for value in group["params"]]
    assert sorted(ids) == sorted(id(value) for value in model.parameters())
    assert len({group["base_lr"] for group in optimizer_groups}) == 3
    assert len({group["name"] for group in optimizer_groups}) == len(optimizer_groups)
    for group in optimizer_groups:
        assert {value.ndim > 1 for value in group["params"]} == {group["weight_decay"] > 0}


def test_layer_groups_of_one_lr_are_joined_in_the_towers_order():
    model, groups = tower()
    train = params(unfreeze_layers=2, tower_lr=0.1, weight_decay=0.05)
    decayed, free = tower_groups(model, list(groups), unfreeze_epochs(3, "text", train), train, "text")
    assert [id(value) for value in decayed["params"]] == [id(model[2].weight)]
    assert [id(value) for value in free["params"]] == [id(model[1].weight), id(model[1].bias), id(model[2].bias)]
    assert (decayed["name"], decayed["weight_decay"], free["weight_decay"]) == ("text/decay", 0.05, 0.0)


def test_a_frozen_tower_has_no_optimizer_groups():
    model, groups = tower()
    train = params(unfreeze_layers=0)
    assert tower_groups(model, groups, unfreeze_epochs(3, "text", train), train, "text") == []
    with pytest.raises(ValueError, match="nothing is trainable"):
        build_adamw([])


def test_a_frozen_layer_in_the_optimizer_does_not_change():
    """It has no gradient, so AdamW skips it, weight decay included, until it is unfrozen."""
    model, groups = tower()
    train = params(unfreeze_layers=1, tower_lr=0.1, weight_decay=0.5, unfreeze_lr_scale=1.0, schedule=[step(1, 3)])
    unfreeze = unfreeze_epochs(3, "text", train)
    optimizer = build_adamw(tower_groups(model, groups, unfreeze, train, "text"))
    before = model[0].weight.clone()
    for epoch, changes in ((0, False), (1, True)):
        set_epoch(model, groups, unfreeze, epoch)
        model(torch.randn(8, 3)).pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        assert (not torch.equal(before, model[0].weight)) is changes


def test_the_schedule_keeps_the_ratio_of_groups():
    slow, fast = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2, 2))
    optimizer = build_adamw(
        [*split_decay([("a", slow)], 1e-4, 0, "a", ()), *split_decay([("b", fast)], 1e-2, 0, "b", ())]
    )
    for number in range(10):
        factor = lr_factor(number, 10, 3)
        set_lr(optimizer, factor)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([1e-4 * factor, 1e-2 * factor])


@given(total=st.integers(1, 200), warmup=st.integers(0, 200))
def test_the_schedule_rises_to_one_and_then_falls(total, warmup):
    warmup = min(warmup, total)
    factors = [lr_factor(number, total, warmup) for number in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    if warmup < total:
        assert factors[warmup] == 1

"""Layers that open by a schedule: which parameters change in which epoch, at which lr, and after a resumption."""

import itertools

import pytest
from tiny_project import TRAIN, make_settings, write_project
from watched_run import Watch, differing, first_weights, run, stop_before

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.models.saved import load_model, read_state
from pipeline_lib.optim.schedules import lr_factor
from pipeline_lib.training.validation import Validator

pytestmark = [pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"), pytest.mark.usefixtures("isolated")]

STAGED = {
    "unfreeze_layers": 1,
    "schedule": [{"epoch": 1, "tower": "text", "layers": 2}, {"epoch": 2, "tower": "image", "layers": 3}],
    "unfreeze_lr_scale": 0.2,
    "lr_decay": 0.5,
    "epochs": 4,
}


@pytest.fixture
def inputs(tmp_path):
    return write_project(tmp_path / "project")


def opening_epochs(report, model):
    """Parameter of the model -> the epoch that opens it, or None, from trainable.json."""
    epochs = {}
    for row in report["towers"][:2]:
        tower = model.towers()[row["tower"]]
        for group, reported in zip(tower.layer_groups(), row["groups"], strict=True):
            epochs |= {f"{row['tower']}.{key}": reported["opens"] for key in group.parameters}
    return epochs


def test_layers_change_from_their_epoch_on_and_no_others_do(inputs, towers, monkeypatch):
    settings = make_settings(*towers, **STAGED)
    watch = Watch(monkeypatch)
    out = run(settings, inputs, "out")
    report, saved = read_object(out / "trainable.json"), load_model(out)
    opens = opening_epochs(report, saved.model)
    first = first_weights(settings)
    assert len(watch.epochs) == 4 and set(opens.values()) == {None, 0, 1, 2}
    for epoch, state in enumerate(watch.epochs):
        assert differing(first, state) == {key for key, start in opens.items() if start is not None and start <= epoch}
    assert not differing(read_state(out), watch.epochs[saved.card["run"]["best_epoch"]])

    sizes = {name: value.numel() for name, value in saved.model.named_parameters()}
    steps = {(step["epoch"], step["tower"]): step["parameters"] for step in report["steps"]}
    changed = [differing(first, state) for state in watch.epochs]
    for epoch, (before, after) in enumerate(itertools.pairwise(changed), start=1):
        opened = {
            tower: sum(sizes[key] for key in after - before if key.startswith(tower)) for tower in ("image", "text")
        }
        assert opened == {tower: steps.get((epoch, tower), 0) for tower in ("image", "text")}
    assert set(steps) == {(1, "text"), (2, "image")}


def test_every_step_has_the_lr_of_the_report_times_the_factor_of_the_schedule(inputs, towers, monkeypatch):
    settings = make_settings(*towers, **STAGED, warmup_fraction=0.3)
    watch = Watch(monkeypatch)
    out = run(settings, inputs, "out")
    model, report = load_model(out).model, read_object(out / "trainable.json")
    lrs = {name: TRAIN["head_lr"] for name, _ in model.head_parameters()}
    for row in report["towers"][:2]:
        for group, listed in zip(model.towers()[row["tower"]].layer_groups(), row["groups"], strict=True):
            if listed["opens"] is not None:
                lrs |= {f"{row['tower']}.{key}": listed["lr"] for key in group.parameters}
    assert [group["lr"] for group in report["towers"][1]["groups"]] == [0, 0, TRAIN["tower_lr"] * 0.5 * 0.2, 1e-3]
    total = len(watch.rates)
    assert total == 4 * 3  # epochs x batches of 8 among 24 products
    for step, rates in enumerate(watch.rates):
        factor = lr_factor(step, total, round(0.3 * total))
        assert rates == pytest.approx({name: lr * factor for name, lr in lrs.items()})


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_stopped_at_an_opening_resumes_to_the_same_result(stop, inputs, towers, monkeypatch):
    """Before the text layers open, before the image layers do, and after both."""
    settings = make_settings(*towers, **STAGED)
    uninterrupted = run(settings, inputs, "uninterrupted")
    stop_before(stop, settings, inputs, "same", monkeypatch)
    resumed = run(settings, inputs, "resumed", "same")
    for file in ("history.csv", "model.safetensors", "trainable.json"):
        assert (uninterrupted / file).read_bytes() == (resumed / file).read_bytes(), file


def test_a_best_epoch_before_an_opening_restores_the_initial_weights_of_later_layers(inputs, towers, monkeypatch):
    settings = make_settings(*towers, **STAGED)
    watch = Watch(monkeypatch)
    measure, losses = Validator.measure, iter((2.0, 1.0, 3.0, 4.0))
    monkeypatch.setattr(Validator, "measure", lambda self, task: {**measure(self, task), "val_loss": next(losses)})
    out = run(settings, inputs, "out")
    saved = load_model(out)
    assert saved.card["run"]["best_epoch"] == 1
    opens = opening_epochs(read_object(out / "trainable.json"), saved.model)
    best = read_state(out)
    assert differing(first_weights(settings), best) == {key for key, start in opens.items() if start in (0, 1)}
    assert not differing(best, watch.epochs[1])
    assert {key for key, start in opens.items() if start == 2} <= differing(best, watch.epochs[3])


FOLLOW = TRAIN["towers"]["text"]


@pytest.mark.parametrize(
    ("depth", "rules", "moves"),
    [
        (0, ({"freeze_first": 2}, {"freeze_first": 1}), {"image": "from 3", "text": "from 2"}),
        ("all", ({"embeddings": "frozen"}, {}), {"image": "from 1", "text": "from 0"}),
        (1, ({}, {"embeddings": "open"}), {"image": "last", "text": "first and last"}),
        (2, ({"unfreeze_layers": 0}, {"freeze_first": 0, "embeddings": "frozen"}), {"image": "none", "text": "from 1"}),
    ],
)
def test_each_tower_is_frozen_by_its_own_rule(depth, rules, moves, inputs, towers, monkeypatch):
    by_tower = {name: {**FOLLOW, **rule} for name, rule in zip(("image", "text"), rules, strict=True)}
    settings = make_settings(*towers, unfreeze_layers=depth, towers=by_tower, epochs=1)
    watch = Watch(monkeypatch)
    model = load_model(run(settings, inputs, "out")).model
    changed = differing(first_weights(settings), watch.epochs[-1])
    for name, tower in model.towers().items():
        groups = tower.layer_groups()
        expected = {"last": {len(groups) - 1}, "first and last": {0, len(groups) - 1}, "none": set()}
        expected |= {f"from {start}": set(range(start, len(groups))) for start in range(4)}
        open_now = {f"{name}.{key}" for number in expected[moves[name]] for key in groups[number].parameters}
        assert {key for key in changed if key.startswith(name)} == open_now

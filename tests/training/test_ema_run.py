"""The moving average of the weights: its closed form, in a run, and after a resumption."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_project import make_settings, write_project
from watched_run import Watch, differing, run, stop_before

from pipeline_lib.models.saved import load_model, read_state
from pipeline_lib.training.ema import WeightEma, ema_warnings

pytestmark = [pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"), pytest.mark.usefixtures("isolated")]


@settings(max_examples=20)
@given(decay=st.floats(0, 0.999), values=st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=8))
def test_the_average_equals_its_closed_form(decay, values):
    """average_n = (prod_k d_k) * first + sum_i (1 - d_i) * (prod_k>i d_k) * value_i, d_k = min(decay, k / (9 + k))."""
    parameter = torch.nn.Parameter(torch.tensor([2.0, -3.0]))
    first, count = parameter.detach().double(), len(values)
    average = WeightEma([parameter], decay)
    for value in values:
        parameter.data.fill_(value)
        average.update()
    decays = [min(decay, number / (9 + number)) for number in range(1, count + 1)]
    expected = math.prod(decays) * first
    for number, value in enumerate(values):
        expected = expected + (1 - decays[number]) * math.prod(decays[number + 1 :]) * value
    with average.applied():
        assert torch.allclose(parameter.detach().double(), expected, atol=1e-4)
    assert parameter.tolist() == [values[-1]] * 2


def test_a_short_run_with_a_large_decay_forgets_its_initial_weights():
    """100 steps at 0.9999: a plain average would be 99 % initial weights."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    average = WeightEma([parameter], 0.9999)
    parameter.data.fill_(1.0)
    for _ in range(100):
        average.update()
    with average.applied():
        assert 0.9999**100 > 0.99 and parameter.item() > 0.999


@pytest.mark.parametrize(
    ("decay", "steps", "message"),
    [
        (
            0.9999,
            600,
            "train.ema_decay = 0.9999: the run has 600 steps, and 0.9999^600 = 0.94, .*only to 0.985.*0.992,",
        ),
        (0.99, 600, None),
        (0.999, 2303, None),
        (0.999, 2300, r"0.999\^2300 = 0.1, .*only to 0.996.* Use at most 0.998, or train longer"),
    ],
)
def test_a_run_too_short_for_its_decay_has_a_warning(decay, steps, message):
    """0.999^2302 is 0.1; the decay in the message gives 0.01."""
    warnings = ema_warnings(decay, steps)
    assert len(warnings) == (message is not None)
    assert message is None or re.search(message.replace("0.9999^", r"0.9999\^"), warnings[0])


def test_an_error_while_the_averages_are_applied_restores_the_weights():
    parameter = torch.nn.Parameter(torch.zeros(1))
    average = WeightEma([parameter], 0.5)
    parameter.data.fill_(8.0)
    with pytest.raises(RuntimeError, match="broken"), average.applied():
        assert parameter.item() == 0.0
        raise RuntimeError("broken")
    assert parameter.item() == 8.0


STAGED = {"unfreeze_layers": 1, "schedule": [{"epoch": 1, "tower": "text", "layers": 2}]}


def test_averages_are_validated_and_saved_and_training_continues_from_the_weights(towers, tmp_path, monkeypatch):
    inputs = write_project(tmp_path / "project")
    watch = Watch(monkeypatch)
    out = run(make_settings(*towers, **STAGED, ema_decay=0.7), inputs, "out")
    best = load_model(out).card["run"]["best_epoch"]
    names = set(watch.rates[0])
    slow = {name: watch.start[name].double() for name in names}
    for number, state in enumerate(watch.steps, start=1):
        decay = min(0.7, number / (9 + number))
        slow = {name: decay * slow[name] + (1 - decay) * state[name] for name in names}
        if number % 3:
            continue
        epoch = number // 3 - 1
        measured = watch.measured[epoch]
        assert all(torch.allclose(measured[name].double(), slow[name], atol=1e-6) for name in names)
        assert differing({name: measured[name] for name in names}, state)
        # Parameters that are not trained are not averaged.
        assert differing(measured, state) <= names
    assert not differing(read_state(out), watch.measured[best])

    averaged = list(watch.steps)
    run(make_settings(*towers, **STAGED), inputs, "plain")
    plain = watch.steps[len(averaged) :]
    assert all(not differing(one, two) for one, two in zip(averaged, plain, strict=True))


def test_a_resumed_run_restores_its_averages(towers, tmp_path, monkeypatch):
    inputs = write_project(tmp_path / "project")
    settings = make_settings(*towers, **STAGED, ema_decay=0.9)
    uninterrupted = run(settings, inputs, "uninterrupted")
    stop_before(1, settings, inputs, "same", monkeypatch)
    resumed = run(settings, inputs, "resumed", "same")
    for file in ("history.csv", "model.safetensors"):
        assert (uninterrupted / file).read_bytes() == (resumed / file).read_bytes(), file
    # Without the restored averages, the result differs.
    stop_before(1, settings, inputs, "without", monkeypatch)
    monkeypatch.setattr(WeightEma, "load_state", lambda self, state: None)
    without = run(settings, inputs, "without", "without")
    assert (uninterrupted / "model.safetensors").read_bytes() != (without / "model.safetensors").read_bytes()


def test_a_decay_of_almost_zero_is_no_average(towers, tmp_path):
    """A decay of 1e-30 averages, but 1 - 1e-30 is 1; a decay of 0 is no average. Both write the same bytes."""
    inputs = write_project(tmp_path / "project")
    outs = [run(make_settings(*towers, ema_decay=decay, epochs=2), inputs, str(decay)) for decay in (0.0, 1e-30)]
    for file in ("history.csv", "model.safetensors"):
        assert len({(out / file).read_bytes() for out in outs}) == 1, file

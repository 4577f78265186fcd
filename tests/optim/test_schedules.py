"""The factor of the learning rate against closed forms, and a warm-up that would never end."""

import math

import pytest

from pipeline_lib.optim.schedules import lr_factor, warmup_steps
from pipeline_lib.params.section import load_params
from pipeline_lib.params.train import TrainParams


def params(**changes):
    return TrainParams.model_validate({**load_params()["train"], **changes})


@pytest.mark.parametrize("warmup", [0, 3])
def test_after_the_warm_up_each_schedule_has_its_closed_form(warmup):
    total = 11
    for step in range(total):
        done = (step - warmup) / (total - warmup)
        expected = {"linear": 1 - done, "constant": 1.0, "cosine": (1 + math.cos(math.pi * done)) / 2}
        for kind, value in expected.items():
            rising = (step + 1) / max(1, warmup)
            assert lr_factor(step, total, warmup, kind) == pytest.approx(rising if step < warmup else value)


def test_a_number_of_steps_overrides_the_share():
    assert warmup_steps(params(warmup_fraction=0.1), 40) == 4
    assert warmup_steps(params(warmup_fraction=0.1, warmup_steps=7), 40) == 7
    assert warmup_steps(params(warmup_fraction=0.1, warmup_steps=0), 40) == 0


def test_a_warm_up_that_never_ends_is_refused():
    with pytest.raises(ValueError, match=r"train.warmup_steps = 40, but the run has only 40 steps.*set it to null"):
        warmup_steps(params(warmup_steps=40), 40)

"""Settings of `train` that need a head or the other are refused with all params, before the first stage."""

from pathlib import Path

import pytest

from pipeline_lib.params.all_sections import check_all
from pipeline_lib.params.section import load_params


def params(weights, phases=None, **train):
    values = load_params()
    for name, loss in values["losses"].items():
        loss["weight"] = weights.get(name, 0.0)
    values["train"].update(train)
    values["phases"]["train"] = phases or {}
    return values


@pytest.mark.parametrize(
    ("weights", "train", "message"),
    [
        ({"cross_entropy": 1.0, "info_nce": 1.0}, {"mix": "mixup"}, "train.mix = 'mixup' .* losses.info_nce compares"),
        ({"class_distillation": 1.0, "feature_distillation": 0.5}, {"mix": "cutmix"}, "losses.feature_distillation"),
        ({"cross_entropy": 1.0}, {"mining": "hard"}, "train.mining = 'hard' compares embeddings"),
        ({"cross_entropy": 1.0}, {"phases": {"mining": "hard"}}, "train.mining = 'hard' compares embeddings"),
        ({}, {}, "every weight under losses is 0"),
    ],
)
def test_losses_that_do_not_fit_are_refused(weights, train, message):
    with pytest.raises(ValueError, match=message):
        check_all(params(weights, **train), Path("params.yaml"))


def test_what_the_message_says_is_accepted():
    classes = {"cross_entropy": 1.0, "class_distillation": 2.0}
    classifier = params(classes, mix="mixup", best_metric="top1")
    classifier["plan"]["search"] = []
    check_all(classifier, Path("params.yaml"))
    check_all(params({"cross_entropy": 1.0, "siglip": 2.0}, mining="hard"), Path("params.yaml"))

"""A loss that compares words without a teacher that stores them is refused before the first stage."""

from pathlib import Path

import pytest

from pipeline_lib.params.all_sections import check_all
from pipeline_lib.params.section import load_params

PATH = Path("params.yaml")


def params(score=None, words=False, **weights):
    values = load_params(Path(__file__).parents[2] / PATH)
    for name, weight in weights.items():
        values["losses"][name]["weight"] = weight
    values["losses"]["coarse_distillation"]["score"] = score or {}
    values["features"]["teacher_words"] = words
    return values


def test_words_that_no_teacher_stores_are_refused():
    message = (
        "params.yaml: losses.coarse_distillation.score.big = x_clip compares words, which teachers store only if "
        "features.teacher_words = true; set it, or another score"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_all(params(coarse_distillation=1.0, score={"old": "mean", "big": "x_clip"}), PATH)


@pytest.mark.parametrize(
    "changes",
    [
        {"coarse_distillation": 1.0, "score": {"big": "x_clip"}, "words": True},
        {"coarse_distillation": 1.0, "score": {"big": "ts2_net"}},
        {"coarse_distillation": 0.0, "score": {"big": "x_clip"}},
    ],
)
def test_what_the_message_names_is_accepted(changes):
    check_all(params(**changes), PATH)

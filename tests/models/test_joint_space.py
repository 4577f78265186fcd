import pytest

from pipeline_lib.features.joint_space import why_apart
from pipeline_lib.models.towers import TowerSource


def sources(image="clip.pt", text="clip.pt", new=(), notes=()):
    return {"image": TowerSource({}, image, {}), "text": TowerSource({}, text, {}, new, notes)}


def test_a_pair_from_one_file_has_a_joint_space():
    assert why_apart(sources()) is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"text": "bert"}, "no pair: zero-shot needs an image and a text tower trained together"),
        ({"image": None, "text": None}, "no pair"),
        ({"notes": ("text: model.text.pooling = mean, but",)}, "model.text.pooling = mean"),
        ({"new": ("pool.",)}, "parts without pretrained weights"),
    ],
)
def test_other_towers_have_no_joint_space(options, reason):
    assert reason in why_apart(sources(**options))

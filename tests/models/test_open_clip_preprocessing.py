"""A file of weights for a published model gets the preprocessing of its tags; where they differ, a run stops."""

import open_clip
import pytest
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from pipeline_lib.models.open_clip_config import find_clip_model
from pipeline_lib.models.open_clip_preprocessing import agreed, stated
from pipeline_lib.params.model import ImageTowerParams

NAMES = [name for name in open_clip.list_models() if open_clip.list_pretrained_tags_by_model(name)]


def found(tmp_path, name, **changes):
    (tmp_path / "weights.pt").touch()
    values = {
        "kind": "open_clip", "name": name, "weights": str(tmp_path / "weights.pt"), "pretrained": True, "size": 224,
        "mean": None, "std": None, "args": {}, "feature": "pooled", "pooling": None, **changes,
    }  # fmt: skip
    return find_clip_model("model.image", ImageTowerParams.model_validate(values))


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("ViT-B-16-SigLIP", (0.5,) * 3, (0.5,) * 3),
        ("PE-Core-B-16", (0.5,) * 3, (0.5,) * 3),
        ("MobileCLIP-S1", (0.0,) * 3, (1.0,) * 3),
        ("ViT-B-32", OPENAI_DATASET_MEAN, OPENAI_DATASET_STD),
        ("TinyCLIP-ViT-8M-16-Text-3M", OPENAI_DATASET_MEAN, OPENAI_DATASET_STD),
    ],
)
def test_weights_from_a_file_get_what_the_published_tags_agree_on(tmp_path, name, mean, std):
    clip = found(tmp_path, name)
    assert (tuple(clip.mean), tuple(clip.std)) == (mean, std)


def test_every_name_gets_the_values_of_each_of_its_tags_or_stops():
    stopped = []
    for name in NAMES:
        tags = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
        theirs = {
            (tuple(tag.get("mean", OPENAI_DATASET_MEAN)), tuple(tag.get("std", OPENAI_DATASET_STD))) for tag in tags
        }
        try:
            ours = agreed(name, False, False)
        except ValueError:
            stopped.append(name)
            assert len(theirs) > 1
        else:
            assert {(tuple(ours.mean), tuple(ours.std))} == theirs
    assert stopped == ["ViT-L-14"] and len(NAMES) > 100


def test_tags_that_differ_stop_the_run_unless_params_name_both(tmp_path):
    with pytest.raises(ValueError, match=r"weights for ViT-L-14 .* tags differ: .*; set both") as error:
        found(tmp_path, "ViT-L-14", mean=[0.5] * 3)
    assert "\n" not in str(error.value)
    found(tmp_path, "ViT-L-14", mean=[0.5] * 3, std=[0.5] * 3)


def test_a_name_without_tags_stops_the_run(tmp_path):
    untagged = next(name for name in open_clip.list_models() if name not in NAMES)
    with pytest.raises(ValueError, match="it has no published tags; set both"):
        found(tmp_path, untagged)


def test_random_weights_need_no_preprocessing(tmp_path):
    assert not found(tmp_path, "ViT-L-14", weights=None, pretrained=False).notes


def test_other_resizing_and_activations_are_noted(tmp_path):
    (note,) = found(tmp_path, "ViT-B-16-SigLIP").notes
    assert note.startswith("image: published weights of this model read images resized by squash and bicubic; here")
    assert any("differ in quick_gelu, and this run has false" in note for note in found(tmp_path, "ViT-B-32").notes)
    assert not stated({"mean": (0.5,) * 3}).notes and "no preprocess_cfg" in stated({}).notes[0]

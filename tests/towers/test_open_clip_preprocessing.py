"""A file of weights for a published model gets the preprocessing of its tags; where they differ, a run stops."""

import json

import numpy as np
import open_clip
import pytest
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.transform import PreprocessCfg, image_transform
from PIL import Image
from tiny_clip import CONFIG

from pipeline_lib.params.model import ImageTowerParams
from pipeline_lib.towers.open_clip_config import find_clip_model
from pipeline_lib.towers.open_clip_preprocessing import DEFAULTS, agreed, stated
from pipeline_lib.transforms.image import FILTERS, SQUARES, fixed_view
from pipeline_lib.transforms.resizing import Resizing

NAMES = [name for name in open_clip.list_models() if open_clip.list_pretrained_tags_by_model(name)]


def found(tmp_path, name, **changes):
    (tmp_path / "weights.pt").touch()
    values = {
        "kind": "open_clip", "name": name, "weights": str(tmp_path / "weights.pt"), "pretrained": True, "size": 224,
        "mean": None, "std": None, "resize_mode": None, "interpolation": None, "args": {}, "feature": "pooled",
        "pooling": None, **changes,
    }  # fmt: skip
    return find_clip_model("model.image", ImageTowerParams.model_validate(values)).preprocessing


def values_of(tag):
    """What open_clip makes of a tag, comparable."""
    known = {**vars(PreprocessCfg()), **{key: value for key, value in tag.items() if value is not None}}
    return tuple(known["mean"]), tuple(known["std"]), known["resize_mode"], known["interpolation"]


@pytest.mark.parametrize(
    ("name", "mean", "std", "resizing"),
    [
        ("ViT-B-16-SigLIP", (0.5,) * 3, (0.5,) * 3, ("squash", "bicubic")),
        ("PE-Core-B-16", (0.5,) * 3, (0.5,) * 3, ("squash", "bilinear")),
        ("MobileCLIP-S1", (0.0,) * 3, (1.0,) * 3, ("shortest", "bilinear")),
        ("ViT-B-32", OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, ("shortest", "bicubic")),
        ("TinyCLIP-ViT-8M-16-Text-3M", OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, ("shortest", "bicubic")),
    ],
)
def test_weights_from_a_file_get_what_the_published_tags_agree_on(tmp_path, name, mean, std, resizing):
    ours = found(tmp_path, name)
    assert (tuple(ours.mean), tuple(ours.std), ours.resizing) == (mean, std, resizing)


def test_every_name_gets_the_values_of_each_of_its_tags_or_stops():
    stopped = []
    for name in NAMES:
        tags = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
        theirs = {values_of(tag) for tag in tags}
        try:
            ours = agreed(name, False, {})
        except ValueError:
            stopped.append(name)
            assert len(theirs) > 1
        else:
            assert {(tuple(ours.mean), tuple(ours.std), *ours.resizing)} == theirs
    assert stopped == ["ViT-H-14", "ViT-H-14-quickgelu", "ViT-L-14"] and len(NAMES) > 100


def test_tags_that_differ_stop_the_run_unless_params_name_what_differs(tmp_path):
    with pytest.raises(ValueError, match=r"weights for ViT-L-14 .* tags differ: .*; set model.image.std$") as error:
        found(tmp_path, "ViT-L-14", mean=[0.5] * 3)
    assert "\n" not in str(error.value)
    assert found(tmp_path, "ViT-L-14", mean=[0.5] * 3, std=[0.25] * 3).std == [0.25] * 3


def test_a_name_without_tags_stops_the_run(tmp_path):
    untagged = next(name for name in open_clip.list_models() if name not in NAMES)
    settings = " and ".join(f"model.image.{key}" for key in DEFAULTS)
    with pytest.raises(ValueError, match=f"it has no published tags; set {settings}$"):
        found(tmp_path, untagged)
    own = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "longest", "interpolation": "bilinear"}
    assert found(tmp_path, untagged, **own).resizing == ("longest", "bilinear")


def test_what_params_name_wins(tmp_path):
    ours = found(tmp_path, "ViT-B-16-SigLIP", resize_mode="shortest", std=[0.25] * 3)
    assert ours == ([0.5] * 3, [0.25] * 3, ("shortest", "bicubic"), ())


def test_random_weights_need_no_preprocessing(tmp_path):
    assert found(tmp_path, "ViT-L-14", weights=None, pretrained=False).mean == list(OPENAI_DATASET_MEAN)


def test_other_activations_and_a_config_without_preprocessing_are_noted(tmp_path):
    assert any("differ in quick_gelu, and this run has false" in note for note in found(tmp_path, "ViT-B-32").notes)
    assert not found(tmp_path, "ViT-B-16-SigLIP").notes and not stated({"mean": (0.5,) * 3}, {}).notes
    own = {"mean": (1.0,) * 3, "std": (1.0,) * 3}
    assert "so resize_mode, interpolation of model.image are OpenAI's" in stated({}, own).notes[0]
    assert not stated({}, own | {"resize_mode": "squash", "interpolation": "bicubic"}).notes


def test_a_folder_states_its_resizing(tmp_path):
    def resizing(**stated):
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": stated}))
        return found(tmp_path, str(tmp_path)).resizing

    assert resizing(resize_mode="squash", interpolation="bilinear") == ("squash", "bilinear")
    assert resizing(interpolation="random") == Resizing()
    with pytest.raises(ValueError, match=r"resize_mode = 'stretch', which is none of .*; set model.image.resize_mode"):
        resizing(resize_mode="stretch")


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("mode", [mode for mode in SQUARES if not mode.endswith("_pad")])  # those are CLIP4Cir's
def test_a_photo_becomes_the_square_that_open_clip_makes(mode, interpolation):
    transform = image_transform(40, False, (0.0,) * 3, (1.0,) * 3, mode, interpolation)
    rng = np.random.default_rng(0)
    for width, height in [(40, 40), (64, 48), (31, 97), (200, 30), (20, 20), (3, 90)]:
        # Smooth, because for the shorter side open_clip rounds the longer one and the crop to whole pixels.
        coarse = Image.fromarray(rng.integers(90, 166, (4, 4, 3), dtype=np.uint8))
        image = coarse.resize((width, height), Image.Resampling.BICUBIC)
        theirs = 255 * transform(image).permute(1, 2, 0).numpy()
        ours = fixed_view(image, 40, Resizing(mode, interpolation)).astype(float)
        assert np.abs(ours - theirs).max() < (3 if mode == "shortest" else 0.01), (width, height)

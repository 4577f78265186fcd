import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from model_settings import make_model_params
from safetensors.torch import load_file, save_file

from pipeline_lib.batch import LayerGroup
from pipeline_lib.towers.hf_text_tower import HFTextTower, resolve_hf
from pipeline_lib.towers.timm_tower import TimmTower, resolve_timm
from pipeline_lib.towers.tower import check_groups
from pipeline_lib.towers.weights import load_strictly

GROCERY_WEIGHTS = Path(__file__).parents[3] / "shared/data/weights/mobilenetv2_100_imagenet_fp16.safetensors"


def image_params(name, **changes):
    return make_model_params(image={"name": str(name), **changes})


def text_params(name, **changes):
    return make_model_params(text={"name": str(name), **changes})


def test_convnextv2_tiny_is_the_published_size():
    """The trunk has 27,866,496 parameters in 20 groups; the last 1, 2, 4 hold 1,536, 4.77 M, 15.49 M."""
    source = resolve_timm(image_params("convnextv2_tiny", pretrained=False))
    tower = TimmTower(source.description)
    sizes = {name: value.numel() for name, value in tower.named_parameters()}
    groups = [sum(sizes[name] for name in group.parameters) for group in tower.layer_groups()]
    assert sum(groups) == sum(sizes.values()) == 27_866_496
    assert len(groups) == 20
    assert groups[-1] == 1_536
    assert round(sum(groups[-2:]) / 1e6, 2) == 4.77
    assert round(sum(groups[-4:]) / 1e6, 2) == 15.49


@pytest.mark.parametrize("architecture", ["mobilenetv2_100", "vit_tiny_patch16_224", "resnet10t", "convnext_atto"])
def test_every_parameter_is_in_one_group(architecture):
    tower = TimmTower(resolve_timm(image_params(architecture, pretrained=False)).description)
    listed = [name for group in tower.layer_groups() for name in group.parameters]
    assert sorted(listed) == sorted(name for name, _ in tower.named_parameters())


def test_a_parameter_without_a_group_is_named():
    with pytest.raises(ValueError, match="'bias' is not in exactly one layer group"):
        check_groups(torch.nn.Linear(1, 1), [LayerGroup("a", ("weight",))])
    with pytest.raises(ValueError, match="'weight' is not in exactly one layer group"):
        check_groups(torch.nn.Linear(1, 1, bias=False), [LayerGroup("a", ("weight",)), LayerGroup("b", ("weight",))])


def test_a_timm_folder_has_the_weights_of_the_tower(tiny_image_folder):
    import timm

    config = json.loads((tiny_image_folder / "config.json").read_text())
    plain = timm.create_model("convnext_atto", num_classes=0, **config["model_args"]).eval()
    plain.load_state_dict(load_file(tiny_image_folder / "model.safetensors"))
    source = resolve_timm(image_params(tiny_image_folder))
    tower = TimmTower(source.description)
    load_strictly(tower, source.state, "here")
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        theirs = plain((pixels / 255 - 0.5) / 0.25)
        ours = tower.eval().encode(pixels)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert ours.shape == (2, tower.dim)


def test_mismatched_weights_are_named(tiny_image_folder, tmp_path):
    state = load_file(tiny_image_folder / "model.safetensors")
    state["stem.0.weight"] = state["stem.0.weight"][:4].contiguous()
    del state["stem.1.bias"]
    state["extra.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "bad.safetensors")
    source = resolve_timm(image_params(tiny_image_folder, weights=str(tmp_path / "bad.safetensors")))
    with pytest.raises(
        ValueError, match=r"1 missing.*stem\.1\.bias.*1 unknown.*extra.*1 of another shape.*\(4, 3, 4, 4\)"
    ):
        load_strictly(TimmTower(source.description), source.state, "bad.safetensors")


def test_classifier_weights_of_a_published_file_are_ignored(tmp_path):
    import timm

    model = timm.create_model("mobilenetv2_100", num_classes=7)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    source = resolve_timm(image_params("mobilenetv2_100", weights=str(tmp_path / "model.safetensors")))
    load_strictly(TimmTower(source.description), source.state, "model.safetensors")


@pytest.mark.skipif(not GROCERY_WEIGHTS.exists(), reason="needs the published weights")
def test_published_half_precision_weights_are_loaded():
    source = resolve_timm(image_params("mobilenetv2_100", weights=str(GROCERY_WEIGHTS), mean=[0.5] * 3, std=[0.5] * 3))
    tower = TimmTower(source.description)
    load_strictly(tower, source.state, "real")
    assert {value.dtype for value in tower.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"name": "convnextv9_tiny"}, "timm has no such architecture"),
        ({"name": "data/nowhere"}, "data/nowhere: no such folder"),
        ({"name": "convnext_atto", "weights": "gone.safetensors"}, "'gone.safetensors': no such .safetensors file"),
    ],
)
def test_bad_image_towers_are_refused_in_one_line(params, text):
    with pytest.raises(ValueError, match=text) as error:
        resolve_timm(image_params(**params))
    assert "\n" not in str(error.value)


def test_text_tower_equals_transformers(tiny_text_folder):
    from transformers import BertModel

    theirs = BertModel.from_pretrained(tiny_text_folder).eval()
    source = resolve_hf(text_params(tiny_text_folder))
    tower = HFTextTower(source.description)
    load_strictly(tower, source.state, "here")
    ids = torch.tensor([[2, 4, 5, 3], [2, 6, 3, 0]])
    mask = ids != 0
    with torch.no_grad():
        tokens = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        found = tower.eval().encode(ids, mask)
    assert torch.allclose(found[1], tokens[1, :3].mean(0), atol=1e-6)
    assert [group.name for group in tower.layer_groups()] == ["embeddings", "layer.0", "layer.1", "layer.2"]


def test_padding_has_no_effect(tiny_text_folder):
    source = resolve_hf(text_params(tiny_text_folder))
    tower = HFTextTower(source.description)
    load_strictly(tower, source.state, "here")
    short = torch.tensor([[2, 4, 5, 3]])
    long = torch.tensor([[2, 4, 5, 3, 0, 0, 0]])
    with torch.no_grad():
        assert torch.allclose(tower.eval().encode(short, short != 0), tower.encode(long, long != 0), atol=1e-6)


def test_bad_text_towers_are_refused_in_one_line(tiny_text_folder, tmp_path):
    with pytest.raises(ValueError, match=r"max_tokens = 99: .* has 32 positions"):
        resolve_hf(text_params(tiny_text_folder, max_tokens=99))
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ValueError, match="model type 't5' is not supported; supported: bert"):
        resolve_hf(text_params(tmp_path))


def test_the_fingerprint_depends_on_weights_and_view(tiny_image_folder):
    one = resolve_timm(image_params(tiny_image_folder))
    assert one.fingerprint == resolve_timm(image_params(tiny_image_folder)).fingerprint
    assert one.fingerprint != resolve_timm(image_params(tiny_image_folder, size=48)).fingerprint
    assert one.fingerprint != resolve_timm(image_params(tiny_image_folder, pretrained=False)).fingerprint


@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_truncated_weights_file_is_refused_in_one_line(kind, tiny_image_folder, tiny_text_folder, tmp_path):
    source, resolve, params = {
        "image": (tiny_image_folder, resolve_timm, image_params),
        "text": (tiny_text_folder, resolve_hf, text_params),
    }[kind]
    folder = shutil.copytree(source, tmp_path / kind)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(
        ValueError, match=re.escape(str(folder)) + r".*(not a complete .safetensors file|cannot load the weights)"
    ):
        resolve(params(folder))

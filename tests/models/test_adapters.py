"""Adapters in a complete model: described, saved, rebuilt, trained, and absent by default."""

import json

import pytest
import torch
from adapted_towers import VIT, pictures, shake
from model_settings import make_model_params
from safetensors.torch import save_file

from pipeline_lib.batch import Batch
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import load_model, save_model
from pipeline_lib.towers.kinds import resolve_towers


@pytest.fixture(scope="module")
def vit_folder(tmp_path_factory):
    import timm

    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    tower = timm.create_model("vit_tiny_patch16_224", num_classes=0, **VIT)
    save_file(tower.state_dict(), folder / "model.safetensors")
    config = {"architecture": "vit_tiny_patch16_224", "model_args": VIT, "mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def build(image, text, private=0, shared=0, after_block=0, stride=2):
    params = make_model_params(
        {"name": str(image)},
        {"name": str(text)},
        register_memory={"slots_private": private, "slots_shared": shared},
        positional_conv={"after_block": after_block, "stride": stride},
    )
    sources = resolve_towers(params)
    torch.manual_seed(1)
    return build_model(describe(params, sources, True, ["a", "b"]), sources).eval()


def batch():
    rows, ids = torch.arange(2), torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]])
    return Batch(
        product=rows, group=rows, text=rows, has_text=rows > -1, label=rows,
        pixels=(pictures() * 255).to(torch.uint8), token_ids=ids, token_mask=ids != 0,
    )  # fmt: skip


def test_adapters_are_off_by_default_and_start_without_effect(vit_folder, tiny_text_folder):
    plain = build(vit_folder, tiny_text_folder)
    assert "adapters" not in plain.description
    adapted = build(vit_folder, tiny_text_folder, private=2, shared=3)
    assert adapted.description["adapters"] == {"register_memory": {"slots_private": 2, "slots_shared": 3}}
    with torch.no_grad():
        one, other = plain(batch()), adapted(batch())
    assert torch.equal(one.image_embedding, other.image_embedding)
    assert torch.equal(one.text_embedding, other.text_embedding)
    assert {name for name, _ in adapted.head_parameters()} - {name for name, _ in plain.head_parameters()} == {
        "shared_slots"
    }


@pytest.mark.parametrize("adapters", [{"private": 2, "shared": 3}, {"after_block": 2}, {"shared": 1, "after_block": 3}])
def test_a_saved_model_is_loaded_with_its_adapters(vit_folder, tiny_text_folder, tmp_path, adapters):
    model = build(vit_folder, tiny_text_folder, **adapters)
    shake(model)
    identity = save_model(tmp_path, model, {})
    loaded = load_model(tmp_path)
    assert loaded.fingerprint == identity
    assert loaded.model.description["adapters"] == model.description["adapters"]
    with torch.no_grad():
        one, other, plain = model(batch()), loaded.model(batch()), build(vit_folder, tiny_text_folder)(batch())
    assert torch.equal(one.image_embedding, other.image_embedding)
    assert torch.equal(one.text_embedding, other.text_embedding)
    assert not torch.allclose(one.image_embedding, plain.image_embedding, atol=1e-2)


def test_every_parameter_of_every_adapter_has_a_gradient(vit_folder, tiny_text_folder):
    model = build(vit_folder, tiny_text_folder, private=2, shared=3, after_block=2).train()
    shake(model)
    outputs = model(batch())
    (outputs.image_embedding.sum() + outputs.text_embedding.sum() + outputs.class_logits.sum()).backward()
    parameters = [(name, value) for name, value in model.named_parameters() if "_memory" in name or "_conv" in name]
    assert len(parameters) == 14 * (3 + 3) + 8
    without_gradient = [
        name for name, value in [*parameters, ("slots", model.shared_slots)] if not value.grad.abs().sum()
    ]
    assert not without_gradient


def test_a_convolutional_tower_is_refused_with_a_remedy(tiny_image_folder, tiny_text_folder):
    with pytest.raises(
        ValueError, match=r"model\.register_memory: the image tower .* or turn model\.register_memory off"
    ):
        build(tiny_image_folder, tiny_text_folder, shared=1)
    with pytest.raises(ValueError, match=r"set model\.positional_conv\.after_block = 0"):
        build(tiny_image_folder, tiny_text_folder, after_block=1)

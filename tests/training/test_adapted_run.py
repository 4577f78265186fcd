"""A fold with both adapters: the shared slots and the adapters of open layers are trained, the others stay frozen."""

import json

import pytest
import torch
from safetensors.torch import save_file
from tiny_project import make_settings, write_project
from watched_run import run

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.inference.warm_start import load_heads, warm_sources
from pipeline_lib.inference.wise_ft import load_interpolated
from pipeline_lib.models.adapters import adapter_state
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import load_model, read_state
from pipeline_lib.params.model import ModelParams
from pipeline_lib.towers.kinds import resolve_towers

pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2}


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


@pytest.mark.usefixtures("isolated")
def test_a_run_with_adapters(tmp_path, vit_folder, tiny_text_folder):
    inputs = write_project(tmp_path / "project")
    settings = make_settings(vit_folder, tiny_text_folder, epochs=2, unfreeze_layers=1)
    values = settings.model.model_dump()
    values["register_memory"] = {"slots_private": 2, "slots_shared": 3}
    values["positional_conv"] = {"after_block": 1, "stride": 2}
    object.__setattr__(settings, "model", ModelParams.model_validate(values))
    out = run(settings, inputs, "out")

    state = read_state(out)
    trained = {name: bool(value.any()) for name, value in state.items() if name.endswith("register_memory.out.weight")}
    assert trained == {
        **{f"image.trunk.blocks.{number}.register_memory.out.weight": number == 2 for number in range(3)},
        **{f"text.trunk.encoder.layer.{number}.register_memory.out.weight": number == 2 for number in range(3)},
    }
    assert not state["image.trunk.blocks.0.positional_conv.mlp.2.weight"].any()  # frozen at its initial value
    again = load_model(out)
    assert again.model.shared_slots.shape == (3, 256)
    report = read_object(out / "trainable.json")
    assert sum(row["total"] for row in report["towers"]) == sum(value.numel() for value in again.model.parameters())
    assert report["warnings"] == [
        "image: model.positional_conv stays frozen and untrained; raise train.unfreeze_layers up to its block"
    ]
    with torch.no_grad():
        assert again.model.image.encode(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).isfinite().all()

    # A later run starts from the adapters too. WiSE-FT keeps them, because they have no pretrained weights.
    warm = warm_sources(resolve_towers(settings.model), out)
    second = build_model(describe(settings.model, warm, True, again.card["description"]["classes"]), warm)
    load_heads(second, out)
    assert all(torch.equal(value, state[name]) for name, value in second.state_dict().items())
    interpolated = load_interpolated(out, 0.0).model
    for tower, module in interpolated.towers().items():
        for name in adapter_state(module):
            assert torch.equal(interpolated.state_dict()[f"{tower}.{name}"], state[f"{tower}.{name}"])
    assert not torch.equal(
        interpolated.state_dict()["text.trunk.encoder.layer.2.output.dense.weight"],
        state["text.trunk.encoder.layer.2.output.dense.weight"],
    )

"""BLIP-2's image tower equals that of transformers bit for bit, from its folder and from a file in LAVIS's names."""

import json
import re

import pytest
import torch
from model_settings import make_model_params
from safetensors.torch import save_file
from transformers import Blip2VisionConfig, Blip2VisionModel

from pipeline_lib.features.boundaries import find_pooling
from pipeline_lib.towers.blip2_image import Blip2ImageTower
from pipeline_lib.towers.file_tensors import FileTensors
from pipeline_lib.towers.kinds import resolve_image_tower, untrained_image_tower

SIZES = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 3,
         "image_size": 32, "patch_size": 8}  # fmt: skip
# A name of transformers -> LAVIS's, one of each rename.
TOP = {
    "embeddings.class_embedding": "visual_encoder.cls_token",
    "embeddings.position_embedding": "visual_encoder.pos_embed",
    "embeddings.patch_embedding.weight": "visual_encoder.patch_embed.proj.weight",
    "embeddings.patch_embedding.bias": "visual_encoder.patch_embed.proj.bias",
    "post_layernorm.weight": "ln_vision.weight",
    "post_layernorm.bias": "ln_vision.bias",
}
LAYER = {
    "layer_norm1.weight": "norm1.weight", "layer_norm1.bias": "norm1.bias",
    "self_attn.qkv.weight": "attn.qkv.weight",
    "self_attn.projection.weight": "attn.proj.weight", "self_attn.projection.bias": "attn.proj.bias",
    "layer_norm2.weight": "norm2.weight", "layer_norm2.bias": "norm2.bias",
    "mlp.fc1.weight": "mlp.fc1.weight", "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.weight": "mlp.fc2.weight", "mlp.fc2.bias": "mlp.fc2.bias",
}  # fmt: skip


@pytest.fixture(scope="module")
def theirs():
    """transformers' tower with random values everywhere; a key of EVA has no bias."""
    torch.manual_seed(0)
    model = Blip2VisionModel(Blip2VisionConfig(**SIZES)).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.randn_like(value) * 0.2 + name.endswith("norm.weight"))
        for layer in model.encoder.layers:
            layer.self_attn.qkv.bias[24:48] = 0
    return model


@pytest.fixture(scope="module")
def lavis(theirs):
    """The same tensors in LAVIS's names, with a part of the Q-Former beside them."""
    state = theirs.state_dict()
    named = {ours: state[name] for name, ours in TOP.items()}
    for number in range(3):
        own, block = f"encoder.layers.{number}", f"visual_encoder.blocks.{number}"
        named |= {f"{block}.{ours}": state[f"{own}.{name}"] for name, ours in LAYER.items()}
        query, _, value = state[f"{own}.self_attn.qkv.bias"].chunk(3)
        named |= {f"{block}.attn.q_bias": query, f"{block}.attn.v_bias": value}
    assert len(named) == len(state) + 3
    more = {"query_tokens": torch.zeros(1, 2, 4), "temp": torch.tensor(0.05)}
    return {name: value.clone() for name, value in (named | more).items()}


def params(name="blip2", size=32, **image):
    return make_model_params({"kind": "blip2", "name": str(name), "size": size, **image})


def images(size=32):
    return torch.randint(256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def check_equal(source, theirs, size=32):
    tower = untrained_image_tower(source, "cpu")
    with torch.inference_mode():
        pixels = tower.normalise(images(size))
        expected = theirs(pixel_values=pixels, interpolate_pos_encoding=size != 32).last_hidden_state
        tokens, features = tower.encode_tokens(images(size))
        assert tokens.shape == (2, 1 + (size // 8) ** 2, 24)
        assert torch.equal(tokens, expected) and torch.equal(tower.tokens(pixels), expected)
        assert torch.equal(features, expected[:, 0]) and torch.equal(tower.encode(images(size)), features)


@pytest.mark.parametrize("form", ["lavis.pth", "sprc.pt", "plain.safetensors"])
def test_a_file_of_lavis_gives_the_tokens_of_transformers_bit_for_bit(form, lavis, theirs, tmp_path):
    if form == "plain.safetensors":
        save_file(lavis, tmp_path / form)
    else:
        named = {f"module.{name}": value for name, value in lavis.items()} if form == "sprc.pt" else lavis
        torch.save({"epoch": 3, "Blip2QformerCir": named} if form == "sprc.pt" else {"model": lavis}, tmp_path / form)
    source = resolve_image_tower(params(weights=str(tmp_path / form), args={"num_attention_heads": 3}))
    assert source.description["config"] == SIZES | {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": True}
    assert source.description["resize_mode"] == "squash"
    check_equal(source, theirs)


@pytest.mark.parametrize("form", ["a model with more parts", "the tower alone"])
@pytest.mark.parametrize("size", [32, 48])
def test_a_folder_of_transformers_stays_in_its_file(form, size, theirs, tmp_path):
    if form == "the tower alone":
        theirs.save_pretrained(tmp_path)
    else:
        state = {f"vision_model.{name}": value for name, value in theirs.state_dict().items()}
        save_file(state | {"query_tokens": torch.zeros(1, 2, 4)}, tmp_path / "model.safetensors")
        vision = theirs.config.to_json_string()
        (tmp_path / "config.json").write_text(f'{{"model_type": "blip-2", "vision_config": {vision}}}')
    source = resolve_image_tower(params(tmp_path, size))
    assert isinstance(source.state, FileTensors)
    check_equal(source, theirs, size)


def test_file_and_folder_have_one_fingerprint(lavis, theirs, tmp_path):
    """So stored tokens of one are those of the other."""
    theirs.save_pretrained(tmp_path / "folder")
    torch.save({"model": lavis}, tmp_path / "lavis.pth")
    file = params(weights=str(tmp_path / "lavis.pth"), args={"num_attention_heads": 3})
    assert resolve_image_tower(file).fingerprint == resolve_image_tower(params(tmp_path / "folder")).fingerprint


def test_each_split_of_the_forward_pass_equals_it_and_each_parameter_is_in_one_group(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    tower = untrained_image_tower(resolve_image_tower(params(tmp_path)), "cpu")
    groups = tower.layer_groups()
    assert [group.name for group in groups] == ["embeddings", "block.0", "block.1", "block.2"]
    assert "visual.post_layernorm.weight" in groups[-1].parameters
    with torch.inference_mode():
        whole = tower.encode(images())
        for suffix in range(len(groups) + 1):
            values = tower.forward_prefix(images(), suffix)
            assert torch.equal(tower.forward_suffix(values, suffix), whole)


def test_the_features_stage_finds_its_tokens(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    source = resolve_image_tower(params(tmp_path))
    with torch.inference_mode():
        found = find_pooling(untrained_image_tower(source, "cpu"), source, images())
    assert found.tokens and found.shape == (17, 24)


def test_without_weights_it_is_eva_g_of_blip_2():
    """39 blocks of width 1408, 257 tokens; random images give different outputs, unlike with the published range."""
    description = resolve_image_tower(params(size=224, pretrained=False)).description
    with torch.device("meta"), torch.inference_mode():
        tower = Blip2ImageTower(description)
        tokens, features = tower.encode_tokens(images(224))
    assert tokens.shape == (2, 257, 1408) and features.shape == (2, 1408) and tower.dim == 1408
    assert sum(value.numel() for value in tower.parameters()) == 985_952_256 and len(tower.layer_groups()) == 40
    small = Blip2ImageTower(resolve_image_tower(params(pretrained=False, args=SIZES)).description).eval()
    with torch.inference_mode():
        first, second = small.encode(images())
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({}, r"model.image.name = 'blip2' has no weights of its own; set model.image.weights to a file of LAVIS"),
        ({"weights": "none.pth"}, r"model.image.weights = 'none.pth': no such file"),
        ({"pretrained": False, "args": {"depth": 3}}, r"model.image.args.depth: a blip2 tower has hidden_size, "),
        (
            {"pretrained": False, "pooling": "mean"},
            r"model.image.pooling = 'mean': a blip2 tower gives its class token",
        ),
        (
            {"pretrained": False, "args": SIZES, "size": 36},
            r"36 px \(no multiple of its patches of 8 px\); set model.image.size = 32",
        ),
    ],
)
def test_what_it_cannot_do_is_one_line(image, message):
    with pytest.raises(ValueError, match=message):
        resolve_image_tower(params(**image))


def test_a_file_of_a_q_former_alone_and_another_folder_are_named(lavis, tmp_path):
    own = {name: value for name, value in lavis.items() if not name.startswith("visual_encoder")}
    save_file(own, tmp_path / "q.safetensors")
    with pytest.raises(ValueError, match=r"q\.safetensors': no visual_encoder and ln_vision here; it must be a file"):
        resolve_image_tower(params(weights=str(tmp_path / "q.safetensors")))
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert/config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"config\.json has no vision_config; name a BLIP-2 model"):
        resolve_image_tower(params(tmp_path / "bert"))


@pytest.mark.parametrize("named", ["../other/model.safetensors", "part/model.safetensors", 3])
def test_an_index_names_files_beside_it(theirs, tmp_path, named):
    theirs.save_pretrained(tmp_path / "blip2")
    index = tmp_path / "blip2/model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"vision_model.post_layernorm.weight": named}}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"index.json: .*{re.escape(repr(named))}, which is no name of a file beside"):
        resolve_image_tower(params(tmp_path / "blip2"))


def test_a_damaged_config_is_one_line(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / "blip2")
    (tmp_path / "blip2/config.json").write_bytes(b"{")
    with pytest.raises(ValueError, match=r"config.json: ") as caught:
        resolve_image_tower(params(tmp_path / "blip2"))
    assert "\n" not in str(caught.value)

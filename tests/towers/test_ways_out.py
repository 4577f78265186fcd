"""Each setting that an error of the towers recommends is tried, and works."""

import re

import pytest
from model_settings import make_model_params
from safetensors.torch import save_file
from tiny_clip import CONFIG, make_clip, written

from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.towers.joint_space import pair_warnings, settle_heads
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.towers.scales import check_scales
from pipeline_lib.towers.timm_tower import resolve_timm

BERT = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
GPT = {"vocab_size": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
RESNET = {**CONFIG, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}}
SETTING = re.compile(r"model\.([\w.]+) = ([\w.]+)")


def ways_of(message):
    """The settings that a message recommends behind its last `set`: one dict for each way, dotted key -> value."""
    found = [dict(SETTING.findall(way)) for way in re.split(", or |, ", message.rpartition("; set ")[2])]
    return [way for way in found if way]


def changed(values, way):
    """Settings of a model with those of a way out."""
    image, text, projector, rest = ({**values.get(name, {})} for name in ("image", "text", "projector", "rest"))
    for key, value in way.items():
        section, _, name = key.rpartition(".")
        target = {"image": image, "text": text, "projector": projector, "": rest}[section]
        target[name] = {"null": None, "true": True, "false": False}.get(value, int(value) if value.isdigit() else value)
    return {"image": image, "text": text, "projector": projector, "rest": rest}


def params_of(values):
    return make_model_params(values.get("image"), values.get("text"), values.get("projector"), **values.get("rest", {}))


def built(values):
    """Resolve both towers, and build the model with its heads."""
    params = params_of(values)
    sources = resolve_towers(params)
    build_model(describe(settle_heads(params, sources), sources, True, []), sources)


def test_ways_are_read_as_people_read_them():
    message = "a; set model.image.size = 546 (its own) and model.image.pooling = mean, or another model.image.name"
    assert ways_of(message) == [{"image.size": "546", "image.pooling": "mean"}]
    assert ways_of("a; set model.text.pooling = last, or mean") == [{"text.pooling": "last"}]
    both = "b; set model.projector.image = linear and model.projector.text = linear, or model.embedding_dim = 24"
    assert ways_of(both) == [{"projector.image": "linear", "projector.text": "linear"}, {"embedding_dim": "24"}]


TIMM = [
    {"name": "dla34", "size": 232},
    {"name": "coat_lite_tiny", "size": 224, "pooling": "mean"},
    {"name": "coat_lite_tiny", "size": 200, "pooling": "mean"},
    {"name": "efficientvim_m1", "size": 224, "pooling": "mean"},
    *(
        {"name": name, "size": size}
        for name in ("mobilenetv5_300m_enc", "deepseek_vit_412m_enc", "qwen3_vit_88m_enc", "gemma4_vit_167m_enc")
        for size in (200, None)
    ),
]
OWN = {"mobilenetv5_300m_enc": 768, "deepseek_vit_412m_enc": 546, "qwen3_vit_88m_enc": 768, "gemma4_vit_167m_enc": 768}


@pytest.mark.parametrize("image", TIMM, ids=lambda image: "-".join(map(str, image.values())))
def test_every_way_out_of_a_timm_tower_works(image):
    image = {"pretrained": False, **image, "size": image["size"] or OWN[image["name"]]}
    with pytest.raises(ValueError, match="; set ") as error:
        resolve_timm(make_model_params(image))
    ways = ways_of(str(error.value))
    assert ways
    for way in ways:
        resolve_timm(params_of(changed({"image": image}, way)))


@pytest.mark.parametrize(
    "values",
    [
        {"image": {"name": "efficientvim_m1", "size": 224}, "rest": {"fusion": "early"}},
        {"image": {"feature": "new_fc"}, "rest": {"fusion": "early"}},
        {"image": {"feature": "logits", "pooling": "mean"}},
        {"text": {"name": "gpt2", "config": GPT, "pooling": "cls"}},
        {"image": {"kind": "open_clip", "name": "tiny", "pooling": "mean"}},
        {"image": {"kind": "open_clip", "name": "tiny", "feature": "new_fc"}},
        {"image": {"kind": "open_clip", "name": "resnet", "size": 64}, "rest": {"fusion": "early"}},
        {"text": {"kind": "open_clip", "name": "tiny", "pooling": "cls"}},
        {"projector": {"image": "none", "text": "none"}},
        {"projector": {"image": "none"}},
        {"projector": {"text": "none"}},
        {"projector": {"image": "linear", "text": "mlp", "shared": True}},
        {"projector": {"shared": True}},
    ],
    ids=str,
)
def test_every_way_out_of_a_model_works(values, tmp_path):
    files = {"tiny": written(tmp_path, CONFIG)}
    (tmp_path / "other").mkdir()
    files["resnet"] = written(tmp_path / "other", RESNET)
    plain = {"image": {"pretrained": False}, "text": {"pretrained": False, "config": BERT}}
    values = {**values}
    for side, own in plain.items():
        given = {**own, **values.get(side, {})}
        if given.get("kind") == "open_clip":
            given = {**given, "config": {}} if side == "text" else given
            given["name"] = files[given["name"]]
        values[side] = given
    with pytest.raises(ValueError, match="; set ") as error:
        built(values)
    ways = ways_of(str(error.value))
    assert ways, str(error.value)
    for way in ways:
        built(changed(values, way))


@pytest.mark.parametrize("projector", [{"image": "linear"}, {"text": "mlp"}, {"image": "mlp", "text": "linear"}])
def test_the_way_out_of_a_warning_gives_a_pair_its_alignment_back(projector, tmp_path):
    save_file(make_clip().state_dict(), tmp_path / "clip.safetensors")
    tower = {"kind": "open_clip", "name": written(tmp_path, CONFIG), "weights": str(tmp_path / "clip.safetensors")}
    projector = {"image": None, "text": None, **projector}
    values = {"image": tower, "text": {**tower, "pooling": "last", "max_tokens": 77}, "projector": projector}
    sources = resolve_towers(params_of(values))
    (warning,) = pair_warnings(settle_heads(params_of(values), sources), sources)
    (way,) = ways_of(warning)
    assert not pair_warnings(settle_heads(params_of(changed(values, way)), sources), sources)


def test_the_sizes_that_an_unfit_scale_names_work():
    small = {"name": "vit_tiny_patch16_224", "args": {"embed_dim": 16, "depth": 1, "num_heads": 2}, "size": 224}
    description = resolve_timm(make_model_params({"pretrained": False, **small})).description
    for scale in (5, 200, 230):
        with pytest.raises(ValueError, match="use a multiple, e.g. ") as error:
            check_scales(description, [scale])
        check_scales(description, map(int, re.findall(r"\d+", str(error.value).rpartition("e.g.")[2])))

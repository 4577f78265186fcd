"""Our open_clip towers against open_clip's: equal features and layer groups, and no key of a checkpoint is ignored."""

import json

import open_clip
import pytest
import torch
from open_clip.model import CLIP, resize_pos_embed
from safetensors.torch import save_file
from tiny_clip import CONFIG, TIMM_CONFIG, CustomTextCLIP, filled, make_clip, resolved, written

from pipeline_lib.towers import open_clip_config
from pipeline_lib.towers.clip_models import CLIP_MODELS
from pipeline_lib.towers.kinds import build_image_tower, build_text_tower
from pipeline_lib.towers.weights import load_strictly
from pipeline_lib.transforms.tokenize import TextTokenizer

TEXTS = ["a red mug", "红色 条纹 马克杯 with a very long handle", "☕️ mug"]


def tokens():
    return (torch.as_tensor(part) for part in TextTokenizer("open_clip").encode_batch(TEXTS, 77))


def pixels(size=32):
    torch.manual_seed(1)
    return torch.randn(2, 3, size, size)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin"])
@pytest.mark.parametrize("kind", [CLIP, CustomTextCLIP])
def test_features_equal_open_clips(tmp_path, kind, suffix):
    theirs, file = make_clip(kind=kind), tmp_path / f"weights{suffix}"
    state = theirs.state_dict()
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, file)
    image, text = filled(resolved(written(tmp_path, CONFIG), file))
    ids, mask = tokens()
    with torch.no_grad():
        assert torch.allclose(image(pixels()), theirs.encode_image(pixels()), atol=1e-5)
        padded = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
        assert padded.shape == (3, 77) and ids.shape[1] < 77
        assert torch.allclose(text.encode(ids, mask), theirs.encode_text(padded), atol=1e-5)


def test_the_first_token_of_a_causal_tower_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model.text.pooling = 'cls': the first token of .* every text would get"):
        resolved(written(tmp_path, CONFIG), None, text={"pooling": "cls"})


def test_trimmed_texts_equal_padded_ones(tmp_path):
    """The end token is last and does not attend to padding, so padding to the longest text is enough."""
    _, text = filled_from(make_clip(), tmp_path)
    ids, mask = tokens()
    padded = torch.nn.functional.pad(ids, (0, 77 - ids.shape[1]))
    padded_mask = torch.nn.functional.pad(mask, (0, 77 - ids.shape[1]))
    with torch.no_grad():
        assert torch.allclose(text.encode(ids, mask), text.encode(padded, padded_mask), atol=1e-6)
        alone = text.encode(ids[:1, : int(mask[0].sum())], mask[:1, : int(mask[0].sum())])
        assert torch.allclose(text.encode(ids, mask)[:1], alone, atol=1e-6)


def filled_from(model, folder, config=CONFIG, **changes):
    save_file(model.state_dict(), folder / "weights.safetensors")
    return filled(resolved(written(folder, config), folder / "weights.safetensors", **changes))


def test_other_image_sizes_equal_open_clips_resized_positions(tmp_path):
    theirs = make_clip()
    image, _ = filled_from(theirs, tmp_path)
    larger = make_clip({**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "image_size": 48}})
    state = theirs.state_dict()
    resize_pos_embed(state, larger)
    larger.load_state_dict(state)
    with torch.no_grad():
        assert torch.allclose(image(pixels(48)), larger.encode_image(pixels(48)), atol=1e-5)


def test_prefixes_of_tiny_clip_are_removed(tmp_path):
    """TinyCLIP's checkpoints have a wrapped module for every part."""
    theirs = make_clip()
    wrapped = {}
    for name, value in theirs.state_dict().items():
        if name.startswith("visual."):
            wrapped[f"module._image_encoder.{name}"] = value
        elif name == "logit_scale":
            wrapped["module._logit_scale.logit_scale"] = value
        else:
            wrapped[f"_text_encoder.module.{name}"] = value
    torch.save({"state_dict": wrapped}, tmp_path / "tiny.pt")
    image, text = filled(resolved(written(tmp_path, CONFIG), tmp_path / "tiny.pt"))
    ids, mask = tokens()
    with torch.no_grad():
        assert torch.allclose(image(pixels()), theirs.encode_image(pixels()), atol=1e-5)
        padded = torch.nn.functional.pad(ids, (0, 77 - ids.shape[1]))
        assert torch.allclose(text.encode(ids, mask), theirs.encode_text(padded), atol=1e-5)


def test_missing_and_unknown_keys_are_named(tmp_path):
    state, name = make_clip().state_dict(), written(tmp_path, CONFIG)
    save_file({**state, "mask_generator.weight": torch.zeros(1)}, tmp_path / "unknown.safetensors")
    with pytest.raises(ValueError, match=r"1 keys of neither tower, e\.g\. mask_generator\.weight"):
        resolved(name, tmp_path / "unknown.safetensors")
    del state["visual.conv1.weight"]
    state["visual.extra"] = torch.zeros(1)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"1 missing, e\.g\. visual\.conv1\.weight; 1 unknown, e\.g\. visual\.extra"):
        filled(resolved(name, tmp_path / "other.safetensors"))
    save_file({"visual.proj": torch.zeros(1)}, tmp_path / "half.safetensors")
    with pytest.raises(ValueError, match="no weights of the text tower"):
        resolved(name, tmp_path / "half.safetensors")


class Unsafe:
    def __reduce__(self):
        return (print, ("run by the file",))


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    torch.save({"state_dict": Unsafe()}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match=r"bad\.pt: cannot read it with weights_only") as error:
        resolved(written(tmp_path, CONFIG), tmp_path / "bad.pt")
    assert "\n" not in str(error.value)
    assert "run by the file" not in capsys.readouterr().out


def unlocked(module) -> set[str]:
    return {name for name, value in module.named_parameters() if value.requires_grad}


def last(tower, count) -> set[str]:
    return {name for group in tower.layer_groups()[-count:] for name in group.parameters}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_groups_are_those_that_open_clip_unlocks(tmp_path, count):
    theirs = make_clip(kind=CustomTextCLIP)
    image, text = filled_from(theirs, tmp_path)
    theirs.lock_image_tower(unlocked_groups=count)
    theirs.lock_text_tower(unlocked_layers=count)
    assert {f"visual.{name}" for name in unlocked(theirs.visual)} == last(image, count)
    assert {f"text.{name}" for name in unlocked(theirs.text)} == last(text, count)
    assert len(image.layer_groups()) == len(text.layer_groups()) == 5


@pytest.mark.filterwarnings("ignore:Importing from timm.models.helpers:FutureWarning")  # open_clip does
@pytest.mark.parametrize("count", [0, 1, 3])
def test_groups_of_a_timm_trunk_are_open_clips_and_the_head(tmp_path, count):
    """open_clip never locks the head, so its n groups are our n + 1."""
    theirs = make_clip(TIMM_CONFIG)
    image, _ = filled_from(theirs, tmp_path, TIMM_CONFIG)
    with torch.no_grad():
        assert torch.allclose(image(pixels(64)), theirs.encode_image(pixels(64)), atol=1e-5)
    theirs.lock_image_tower(unlocked_groups=count)
    assert {f"visual.{name}" for name in unlocked(theirs.visual)} == last(image, count + 1)


def test_a_resnet_equals_open_clips_and_has_its_groups(tmp_path):
    config = {**CONFIG, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32}}
    theirs = make_clip(config)
    image, _ = filled_from(theirs, tmp_path, config, image={"size": 64})
    with torch.no_grad():
        assert torch.allclose(image(pixels(64)), theirs.encode_image(pixels(64)), atol=1e-5)
    names = [group.name for group in image.layer_groups()]
    assert names == ["stem", "layer1", "layer2", "layer3", "layer4", "attnpool"]


def test_a_hugging_face_text_tower_equals_open_clips(tmp_path, tiny_text_folder):
    """open_clip's HFTextEncoder over a BERT folder: mean of the tokens, two-layer projection."""
    text = {
        "hf_model_name": str(tiny_text_folder), "hf_tokenizer_name": str(tiny_text_folder), "hf_proj_type": "mlp",
        "hf_pooler_type": "mean_pooler", "hf_model_pretrained": False,
    }  # fmt: skip
    config = {**CONFIG, "text_cfg": text}
    theirs = make_clip(config, CustomTextCLIP)
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    sources = resolved(
        written(tmp_path, config), tmp_path / "weights.safetensors", text={"pooling": "mean", "max_tokens": 16}
    )
    _, tower = filled(sources)
    ids = torch.tensor([[2, 4, 5, 3], [2, 6, 3, 0]])
    with torch.no_grad():
        assert torch.allclose(tower.encode(ids, ids != 0), theirs.encode_text(ids), atol=1e-5)
    assert [group.name for group in tower.layer_groups()] == [
        "embeddings",
        "layer.0",
        "layer.1",
        "layer.2",
        "projection",
    ]
    assert sources["text"].description["tokenizer"] == str(tiny_text_folder) and not sources["text"].notes


def test_a_folder_has_config_normalisation_and_weights(tmp_path):
    theirs = make_clip()
    preprocessing = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    config = {"model_cfg": CONFIG, "preprocess_cfg": preprocessing}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    save_file(theirs.state_dict(), tmp_path / "open_clip_model.safetensors")
    own = {"weights": None, "pretrained": True}
    sources = resolved(tmp_path, None, own, own)
    image, _ = filled(sources)
    assert {key: sources["image"].description[key] for key in preprocessing} == preprocessing
    assert sources["image"].weights == str(tmp_path / "open_clip_model.safetensors")
    with torch.no_grad():
        assert torch.allclose(image(pixels()), theirs.encode_image(pixels()), atol=1e-5)


@pytest.mark.parametrize("fusion", ["late", "early"])
def test_a_description_rebuilds_its_tower(tmp_path, fusion):
    sources = resolved(written(tmp_path, CONFIG), None, fusion=fusion)
    described = json.loads(json.dumps({name: source.description for name, source in sources.items()}))
    for build, name in ((build_image_tower, "image"), (build_text_tower, "text")):
        load_strictly(build(described[name]), build(sources[name].description).state_dict(), "memory")


def test_another_pooling_reads_the_projected_tokens_with_a_note(tmp_path):
    save_file(make_clip().state_dict(), tmp_path / "weights.safetensors")
    sources = resolved(written(tmp_path, CONFIG), tmp_path / "weights.safetensors", text={"pooling": "mean"})
    assert sources["text"].notes == ("text: model.text.pooling = mean, but these weights were trained with last",)
    _, text = filled(sources)
    ids, mask = tokens()
    with torch.no_grad():
        projected = text.tokens(ids, mask)
        assert torch.allclose(text.encode(ids, mask)[0], projected[0, : int(mask[0].sum())].mean(0), atol=1e-6)


def test_small_variants_by_args():
    both = {"name": "ViT-B-32", "pretrained": False}
    sources = resolved("ViT-B-32", None, {**both, "args": {"layers": 1, "width": 64}}, {"config": {"layers": 2}})
    assert sources["image"].description["vision_cfg"]["patch_size"] == 32
    assert sources["image"].description["vision_cfg"]["layers"] == 1
    assert sources["text"].description["text_cfg"]["layers"] == 2


def test_a_tag_sets_gelu_and_normalisation(tmp_path, monkeypatch):
    """ViT-B-32's config has GELU, the weights `openai` were trained with QuickGELU."""
    save_file(make_clip().state_dict(), tmp_path / "weights.safetensors")
    monkeypatch.setattr(open_clip_config, "download_pretrained", lambda tag: tmp_path / "weights.safetensors")
    tagged = resolved("ViT-B-32", "openai")["image"].description
    assert tagged["quick_gelu"] is True
    assert resolved("ViT-B-32", "laion2b_s34b_b79k")["image"].description["quick_gelu"] is False


@pytest.mark.parametrize(
    ("name", "weights", "image", "text", "message"),
    [
        ("ViT-Q-32", None, {}, {}, r"model\.image\.name = 'ViT-Q-32': open_clip has no such model; similar: ViT"),
        ("ViT-B-32", "no_such_tag", {}, {}, r"a tag of ViT-B-32 \(known: openai"),
        ("ViT-B-32", "gone.pt", {}, {}, r"model\.image\.weights = 'gone\.pt': no such file"),
        ("ViT-B-32", None, {"pretrained": True}, {}, r"weights = None: set it to a file .*image\.pretrained = false"),
        (
            "ViT-B-32",
            None,
            {"args": {"layer": 2}},
            {},
            r"args\.layer: .* has no such key; .* mean 'layers'",
        ),
        ("ViT-B-32", None, {"feature": "logits"}, {}, r"feature = 'logits': an open_clip tower has its own"),
        ("ViT-B-32", None, {"pooling": "gem"}, {}, r"pooling = 'gem': an open_clip tower has its own"),
        ("ViT-B-32", None, {}, {"max_tokens": 78}, r"max_tokens = 78: ViT-B-32 has 77 positions"),
        ("ViT-B-16-SigLIP", None, {}, {}, r"with no_causal_mask = true are not supported"),
        ("gone.json", None, {}, {}, r"'gone\.json': no such config file"),
    ],
)
def test_bad_open_clip_params_are_one_line(name, weights, image, text, message):
    with pytest.raises(ValueError, match=message) as error:
        resolved(name, weights, image, text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("setting", [{"clean": "canonicalize"}, {"additional_special_tokens": ["<brand>"]}])
def test_a_tokenizer_that_reads_texts_in_another_way_is_refused(tmp_path, setting):
    """A brand with a token of its own would otherwise be spelled in other tokens than in open_clip."""
    config = CONFIG | {"text_cfg": CONFIG["text_cfg"] | {"tokenizer_kwargs": setting}}
    with pytest.raises(ValueError, match=f"tokenizer has the setting {next(iter(setting))} = .*; set model.text.token"):
        resolved(written(tmp_path, config), None)
    assert resolved(written(tmp_path, config), None, text={"tokenizer": "open_clip"})["text"]


def test_weights_pooled_at_a_highest_id_that_is_not_the_end_are_refused(tmp_path, tiny_text_folder):
    save_file(make_clip().state_dict(), weights := tmp_path / "weights.safetensors")
    named = CONFIG["text_cfg"] | {"hf_tokenizer_name": str(tiny_text_folder)}
    with pytest.raises(ValueError, match=r"not the end of a text, token 3; .* set pool_type = eos and eos_id = 3"):
        resolved(written(tmp_path, CONFIG | {"text_cfg": named}), weights)
    named |= {"pool_type": "eos", "eos_id": 3}
    assert resolved(written(tmp_path, CONFIG | {"text_cfg": named}), weights)["text"]


@pytest.mark.parametrize(("changes", "found"), [({}, 2), ({"eos_id": 5}, 5)])
@pytest.mark.parametrize("own", [False, True])
def test_weights_pooled_at_a_token_that_is_not_the_end_are_refused(tmp_path, tiny_text_folder, changes, found, own):
    """open_clip takes the first token of a text then, if none has that id."""
    save_file(make_clip().state_dict(), weights := tmp_path / "weights.safetensors")
    named = {"hf_tokenizer_name": str(tiny_text_folder)} if own else {}
    text = CONFIG["text_cfg"] | named | {"pool_type": "eos"} | changes
    end = 3 if own else 49407
    with pytest.raises(ValueError, match=f"pooled at eos_id = {found}, .* not the end of a text, token {end};"):
        resolved(written(tmp_path, CONFIG | {"text_cfg": text}), weights)
    assert resolved(written(tmp_path, CONFIG | {"text_cfg": text | {"eos_id": end}}), weights)["text"]


def test_early_fusion_of_a_pooling_tower_is_refused(tmp_path):
    with pytest.raises(ValueError, match="needs an image tower with tokens"):
        resolved(written(tmp_path, TIMM_CONFIG), None, fusion="early")


def test_our_model_names_are_not_open_clips():
    assert not set(CLIP_MODELS) & set(open_clip.list_models())

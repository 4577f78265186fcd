"""A folder of transformers' CLIP or Chinese-CLIP is a pair: features, scale and preprocessing equal transformers'."""

import json

import numpy as np
import pytest
import torch
from drawn_files import gradient
from model_settings import make_model_params
from safetensors.torch import load_file, save_file
from tiny_clip import filled
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch.nn import functional
from transformers import (
    ChineseCLIPConfig,
    ChineseCLIPImageProcessor,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
)

from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.towers.joint_space import pair_warnings, settle_heads, why_apart
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.transforms.image import fixed_view
from pipeline_lib.transforms.resizing import Resizing

VISION = {"hidden_size": 32, "intermediate_size": 72, "num_hidden_layers": 2, "num_attention_heads": 4,
          "image_size": 32, "patch_size": 8}  # fmt: skip
TEXT = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 100,
        "max_position_embeddings": 16}  # fmt: skip
END = {"bos_token_id": 98, "eos_token_id": 99, "pad_token_id": 99}
SQUASHED = {"size": {"height": 32, "width": 32}, "do_center_crop": False, "resample": 2}
SHORTEST = {"size": {"shortest_edge": 32}, "crop_size": 32, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
IDS = torch.tensor([[98, 5, 9, 7, 99], [98, 7, 99, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()


def save_tokenizer(folder, vocabulary):
    """Save a tokenizer of words that starts texts with <s> and ends them with </s>."""
    numbers = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    marks = [(mark, numbers[mark]) for mark in ("<s>", "</s>")]
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=marks)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}))


@pytest.fixture(params=["clip with quick GELUs", "clip with GELUs and other norms", "chinese_clip"])
def saved(request, tmp_path):
    """A folder with a model of transformers, its processor and a tokenizer; the model, and the pooling of its texts."""
    torch.manual_seed(0)
    pooling = "last"
    if request.param == "chinese_clip":
        config = ChineseCLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=20)
        model, pooling, processor = ChineseCLIPModel(config), "cls", ChineseCLIPImageProcessor(**SQUASHED)
    else:
        other = {"hidden_act": "gelu", "layer_norm_eps": 1e-3} if "other" in request.param else {}
        parts = {"text_config": {**TEXT, **END, **other}, "vision_config": {**VISION, **other}}
        model, processor = CLIPModel(CLIPConfig(**parts, projection_dim=20)), CLIPImageProcessor(**SHORTEST)
    with torch.no_grad():
        for value in model.parameters():  # zeros and ones would hide a swapped parameter
            value.add_(0.05 * torch.randn_like(value))
        model.logit_scale.fill_(3.25)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    save_tokenizer(tmp_path, ["<pad>", "<unk>", *(f"word{number}" for number in range(96)), "<s>", "</s>"])
    return tmp_path, model.eval(), processor, pooling


def settings(folder, pooling, **changes):
    tower = {"kind": "open_clip", "name": str(folder)}
    null = {"projector": {"image": None, "text": None}, "logit_scale": None, "embedding_dim": 20}
    return make_model_params(tower, {**tower, "pooling": pooling, "max_tokens": 16}, **null, **changes)


def features_of(output):
    return output if isinstance(output, torch.Tensor) else output.pooler_output


def test_features_projections_and_scale_are_those_of_transformers(saved):
    folder, theirs, _, pooling = saved
    params = settings(folder, pooling)
    sources = resolve_towers(params)
    assert why_apart(sources) is None and not pair_warnings(settle_heads(params, sources), sources)
    assert not sources["image"].notes and not sources["text"].notes
    image, text = filled(sources)
    pixels = torch.randn(2, 3, 32, 32)
    ids = torch.where(MASK, IDS, theirs.config.text_config.pad_token_id)
    with torch.no_grad():
        seen = features_of(theirs.get_image_features(pixel_values=pixels))
        read = features_of(theirs.get_text_features(input_ids=ids, attention_mask=MASK.long()))
        assert seen.std() > 0.01 and read.std() > 0.01
        assert torch.allclose(image(pixels), seen, atol=1e-5)
        assert torch.allclose(text.encode(IDS, MASK), read, atol=1e-5)
        scores = theirs(input_ids=ids, attention_mask=MASK.long(), pixel_values=pixels).logits_per_image
    model = build_model(describe(params, sources, True, []), sources).eval()
    assert model.logit_scale.item() == pytest.approx(3.25)
    with torch.no_grad():
        ours = functional.normalize(image(pixels), dim=-1) @ model.embed_text(model.encode_text(IDS, MASK)).T
    assert torch.allclose(model.logit_scale.exp() * ours, scores, atol=1e-4)


def test_a_photo_becomes_the_pixels_of_its_processor(saved):
    folder, _, processor, pooling = saved
    source = resolve_towers(settings(folder, pooling))["image"]
    photo = gradient(90, 60)
    theirs = processor(photo, return_tensors="np")["pixel_values"][0]
    view = fixed_view(photo, 32, Resizing.of(source.description)).transpose(2, 0, 1) / 255
    mean, std = (np.array(source.description[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    levels = 255 * np.abs((view - mean) / std - theirs) * std
    assert levels.max() < 2.01 and levels.mean() < 0.1  # torchvision rounds where Pillow does not


def test_older_files_with_positions_and_a_pickle_are_read(saved):
    folder, theirs, _, pooling = saved
    state = {**theirs.state_dict(), "vision_model.embeddings.position_ids": torch.arange(17)[None],
             "text_model.embeddings.position_ids": torch.arange(16)[None]}  # fmt: skip
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    image, _ = filled(resolve_towers(settings(folder, pooling)))
    with torch.no_grad():
        pixels = torch.randn(1, 3, 32, 32)
        assert torch.allclose(image(pixels), features_of(theirs.get_image_features(pixel_values=pixels)), atol=1e-5)


def test_the_folders_tokenizer_is_the_pairs(saved):
    folder, _, _, pooling = saved
    assert resolve_towers(settings(folder, pooling))["text"].description["tokenizer"] == str(folder)


def edited(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_what_open_clip_has_no_model_for_is_one_line(tmp_path):
    CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=20)).save_pretrained(tmp_path)
    edited(tmp_path, text_config={**TEXT, "hidden_act": "relu"})
    with pytest.raises(ValueError, match=r"hidden_act = quick_gelu and relu: open_clip has no such model"):
        resolve_towers(settings(tmp_path, "last"))
    edited(tmp_path, model_type="siglip")
    with pytest.raises(ValueError, match=r"of model type 'siglip', no clip or chinese_clip; take the same weights in"):
        resolve_towers(settings(tmp_path, "last"))


def test_a_file_without_a_parameter_is_refused(saved):
    folder, _, _, pooling = saved
    state = load_file(folder / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ValueError, match="proj"):
        filled(resolve_towers(settings(folder, pooling)))


def saved_with_end_two(folder, vocabulary):
    """Save a CLIP whose config has 2 for its end token, and a tokenizer that ends texts with </s>."""
    save_tokenizer(folder, vocabulary)
    torch.manual_seed(0)
    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    config = CLIPConfig(text_config={**TEXT, **ids}, vision_config=VISION, projection_dim=20)
    model = CLIPModel(config).eval()
    model.save_pretrained(folder)
    return model


def test_texts_that_transformers_pools_at_their_highest_id_are_refused(tmp_path):
    words = ["cup", "lamp", "red"]
    model = saved_with_end_two(tmp_path, ["<s>", "<pad>", "</s>", "<unk>", *words])
    with torch.no_grad():  # "lamp red cup" and "lamp red lamp": the highest id is that of red, and the rest is not read
        read = features_of(model.get_text_features(input_ids=torch.tensor([[0, 5, 6, 4, 2], [0, 5, 6, 5, 2]])))
    assert torch.equal(read[0], read[1])
    with pytest.raises(ValueError, match=r"at their highest token id, which .* is not the end of a text, token 2;"):
        resolve_towers(settings(tmp_path, "last"))


def test_an_end_token_of_the_highest_id_is_read_as_by_transformers(tmp_path):
    words = [f"word{number}" for number in range(96)]
    model = saved_with_end_two(tmp_path, ["<s>", "<pad>", "<unk>", *words, "</s>"])
    _, text = filled(resolve_towers(settings(tmp_path, "last")))
    ids = torch.where(MASK, torch.tensor([[0, 5, 9, 7, 99], [0, 7, 99, 0, 0]]), 1)
    with torch.no_grad():
        read = features_of(model.get_text_features(input_ids=ids, attention_mask=MASK.long()))
        assert torch.allclose(text.encode(ids, MASK), read, atol=1e-5)

"""Early fusion: one layer for the tokens of both towers, which pass it separately."""

from dataclasses import replace

import pytest
import torch
from model_settings import make_model_params
from test_multimodal import batch, build

from pipeline_lib.models.fusion import EarlyFusion
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import load_model, save_model
from pipeline_lib.towers.kinds import resolve_towers

POOLING = {"image": "attentive", "text": "mean"}


def fusion(dims=None, pooling=None):
    torch.manual_seed(0)
    return EarlyFusion(dims or {"image": 6, "text": 8}, 8, 2, pooling or POOLING).eval()


def test_the_layer_is_shared_and_the_modality_embeddings_differ():
    """Equal tokens give different features, and equal ones once the modality embeddings are equal."""
    both = fusion({"image": 8, "text": 8}, {"image": "mean", "text": "mean"})
    tokens, mask = torch.randn(3, 4, 8), torch.ones(3, 4, dtype=torch.bool)
    with torch.no_grad():
        assert not torch.allclose(both.image(tokens), both.text(tokens, mask), atol=1e-4)
        both.modality["image"].copy_(both.modality["text"])
        assert torch.allclose(both.image(tokens), both.text(tokens, mask), atol=1e-6)


def test_padding_has_no_effect():
    layer, tokens = fusion(), torch.randn(2, 3, 8)
    longer = torch.cat([tokens, 9 * torch.randn(2, 2, 8)], dim=1)
    with torch.no_grad():
        short = layer.text(tokens, torch.ones(2, 3, dtype=torch.bool))
        assert torch.allclose(layer.text(longer, torch.arange(5).expand(2, -1) < 3), short, atol=1e-5)


def test_the_layer_mixes_tokens():
    layer = fusion(pooling={"image": "cls", "text": "cls"})
    tokens = torch.randn(1, 3, 8)
    other = tokens.clone()
    other[:, 2] *= -1
    mask = torch.ones(1, 3, dtype=torch.bool)
    with torch.no_grad():
        assert not torch.allclose(layer.text(tokens, mask), layer.text(other, mask), atol=1e-4)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"model\.fusion_heads = 3 does not divide model\.embedding_dim = 8"):
        EarlyFusion({"image": 8, "text": 8}, 8, 3, POOLING)


def test_an_image_is_embedded_independently_of_texts(tiny_image_folder, tiny_text_folder, tmp_path):
    """An image has the same embedding with other texts, in another batch and alone; so has the loaded model."""
    model, inputs = build(tiny_image_folder, tiny_text_folder, fusion="early"), batch()
    other = replace(inputs, token_ids=inputs.token_ids.flip(0), token_mask=inputs.token_mask)
    save_model(tmp_path, model, {})
    with torch.no_grad():
        outputs = model(inputs)
        assert torch.equal(outputs.image_embedding, model(other).image_embedding)
        alone = model.embed_image(model.encode_image(inputs.pixels[:1]))
        assert torch.allclose(alone, outputs.image_embedding[:1], atol=1e-5)
        texts = model.embed_text(model.encode_text(inputs.token_ids, inputs.token_mask))
        assert torch.allclose(texts, outputs.text_embedding, atol=1e-6)
        loaded = load_model(tmp_path).model
        assert torch.equal(loaded(inputs).class_logits, outputs.class_logits)


def test_every_parameter_has_a_gradient(tiny_image_folder, tiny_text_folder):
    model = build(tiny_image_folder, tiny_text_folder, fusion="early")
    outputs = model.train()(batch())
    loss = (outputs.image_embedding * outputs.text_embedding).sum() * outputs.logit_scale + outputs.class_logits.sum()
    loss.backward()
    assert not [name for name, value in model.named_parameters() if value.grad is None]
    names = {name.split(".")[0] for name, _ in model.head_parameters()}
    assert names == {"fusion", "head", "logit_scale"}


def test_poolings_of_early_fusion_are_set_in_params(tiny_image_folder, tiny_text_folder):
    def described(pooling):
        image = {"name": str(tiny_image_folder), "pooling": pooling}
        params = make_model_params(image, {"name": str(tiny_text_folder), "pooling": "gem"}, fusion="early")
        return describe(params, resolve_towers(params), True, [])

    assert described(None)["fusion"]["pooling"] == {"image": "mean", "text": "gem"}
    assert described("attentive")["fusion"]["pooling"]["image"] == "attentive"
    with pytest.raises(ValueError, match="pooling = 'abs_attn' needs a feature map"):
        described("abs_attn")


@pytest.mark.parametrize("kind", ["fixed", "attentive", "gem"])
def test_bf16_is_close_to_fp32(tiny_image_folder, tiny_text_folder, kind):
    pooling = {} if kind == "fixed" else {"pooling": kind}
    params = make_model_params(
        {"name": str(tiny_image_folder), **pooling}, {"name": str(tiny_text_folder), **pooling}, fusion="early"
    )
    sources = resolve_towers(params)
    model, inputs = build_model(describe(params, sources, True, []), sources).eval(), batch()
    with torch.inference_mode():
        exact = model(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(inputs)
    for name in ("image_embedding", "text_embedding"):
        assert torch.allclose(getattr(half, name), getattr(exact, name), atol=0.06)

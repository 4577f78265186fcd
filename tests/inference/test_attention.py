"""Maps of where a tower looks: weights that the forward pass uses, slow loops, and closed forms of Grad-CAM."""

import math

import pytest
import torch
from model_settings import make_model_params
from tiny_clip import CONFIG, written
from torch import nn

from pipeline_lib.inference import attention
from pipeline_lib.inference.attention import METHODS, attention_maps
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.towers.tower import ForwardBlock

BERT = {
    "config": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    | {"vocab_size": 20},
    "pretrained": False,
}
CONVNEXT = {"name": "convnext_atto", "args": {"depths": [1, 1, 1, 1], "dims": [8, 12, 16, 64]}}
VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8}
SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "img_size": 64, "window_size": 4}


def built(image, size=32, text=BERT, **changes):
    params = make_model_params({"pretrained": False, "size": size, **image}, text, **changes)
    sources = resolve_towers(params)
    torch.manual_seed(0)
    return build_model(describe(params, sources, True, []), sources).eval()


def photos(size=32):
    return torch.randint(0, 255, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def vit(**args):
    return built({"name": "vit_tiny_patch16_224", "args": VIT | args})


@pytest.mark.parametrize(
    ("image", "changes", "kind", "side"),
    [
        (CONVNEXT, {}, "grad_cam", 8),  # its last map has 2 x 2 cells
        (CONVNEXT | {"pooling": "attentive"}, {}, "pooling", 2),
        (CONVNEXT | {"pooling": "attentive"}, {"fusion": "early"}, "pooling", 2),
        (CONVNEXT, {"fusion": "early"}, "grad_cam", 2),
        ({"name": "vit_tiny_patch16_224", "args": VIT}, {}, "class_token", 8),
        ({"name": "vit_tiny_patch16_224", "args": VIT | {"global_pool": "avg"}}, {}, "grad_cam", 8),
        ({"name": "vit_tiny_patch16_224", "args": VIT | {"global_pool": "map"}}, {}, "grad_cam", 8),
        ({"name": "vit_tiny_patch16_224", "args": VIT | {"reg_tokens": 4}}, {}, "class_token", 8),
        ({"name": "vit_tiny_patch16_224", "args": VIT, "pooling": "gem"}, {}, "grad_cam", 8),
        ({"name": "swin_tiny_patch4_window7_224", "args": SWIN}, {}, "grad_cam", 8),  # a class of one block
    ],
)
def test_every_tower_has_the_map_of_its_kind(image, changes, kind, side):
    result = attention_maps(built(image, 64, **changes), photos(64), _queries())
    assert result is not None and result.kind == kind
    assert result.maps.shape == (2, side, side)
    assert (result.maps >= 0).all()
    assert result.maps.sum((1, 2)) == pytest.approx([1, 1])


def _queries(dim=8):
    return torch.randn(2, dim, generator=torch.Generator().manual_seed(5))


def test_weights_of_an_attentive_pooling_are_those_that_pool():
    model = built(CONVNEXT | {"pooling": "attentive"}, 64)
    maps = attention_maps(model, photos(64), _queries()).maps
    tokens, pool = model.image.tokens(model.image.normalise(photos(64))), model.image.pool.pool
    for row in range(2):
        scores = [pool.context(torch.tanh(pool.hidden(token))).item() for token in tokens[row]]
        expected = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
        assert maps[row].ravel() == pytest.approx(expected, rel=1e-4)
    weighted = (tokens * torch.from_numpy(maps).flatten(1)[..., None]).sum(1)
    assert torch.allclose(weighted, model.encode_image(photos(64)), atol=1e-5)


@torch.no_grad()
def test_class_token_attention_equals_a_loop_over_heads_and_patches():
    model = vit()
    maps = attention_maps(model, photos(), _queries()).maps
    trunk = model.image.trunk
    tokens = trunk.norm_pre(trunk._pos_embed(trunk.patch_embed(model.image.normalise(photos()))))
    tokens = trunk.blocks[1].norm1(trunk.blocks[0](tokens))
    for row in range(2):
        expected = torch.zeros(17)
        for head in range(2):
            own = slice(16 * head, 16 * head + 16)
            query, key, _ = trunk.blocks[1].attn.qkv(tokens[row]).chunk(3, dim=1)
            scores = [(query[0, own] @ key[place, own]).item() / 4 for place in range(17)]
            expected += torch.tensor(scores).softmax(0) / 2
        expected = expected[1:] / expected[1:].sum()
        assert maps[row].ravel() == pytest.approx(expected.numpy(), rel=1e-4)


@torch.no_grad()
def test_class_token_attention_of_open_clip_equals_a_loop(tmp_path):
    name = written(tmp_path, CONFIG | {"vision_cfg": CONFIG["vision_cfg"] | {"layers": 2}})
    text = {"kind": "open_clip", "name": name, "pretrained": False, "pooling": "last", "max_tokens": 77}
    model = built({"kind": "open_clip", "name": name}, text=text)
    maps = attention_maps(model, photos(), _queries())
    assert maps.kind == "class_token" and maps.maps.shape == (2, 4, 4)
    visual = model.image.visual
    first, last = visual.transformer.resblocks
    tokens = last.ln_1(first(model.image._embedded(visual, model.image.normalise(photos()))))
    for row in range(2):
        expected = torch.zeros(17)
        query, key, _ = (tokens[row] @ last.attn.in_proj_weight.T + last.attn.in_proj_bias).chunk(3, dim=1)
        for head in range(2):
            own = slice(32 * head, 32 * head + 32)
            expected += (query[0, own] @ key[:, own].T / math.sqrt(32)).softmax(0) / 2
        assert maps.maps[row].ravel() == pytest.approx((expected[1:] / expected[1:].sum()).numpy(), rel=1e-4)


class Channels(nn.Module):
    """A tower of 8 x 8 cells whose features are the means of three channels: each is the mean colour of a cell."""

    dim, fusion, visual, trunk = 3, None, None, None

    def __init__(self):
        super().__init__()
        self.image = self

    def normalise(self, pixels):
        return pixels.float() / 255

    def forward_blocks(self):
        pool = ForwardBlock(("pool",), lambda cells: cells.mean((2, 3)))
        return [ForwardBlock(("cells",), lambda pixels: nn.functional.avg_pool2d(pixels, 4)), pool]

    def embed_image(self, features):
        return features


def test_grad_cam_of_the_mean_colour_is_the_brightness_of_the_asked_channel():
    """d <mean, q> / d cell is q / 64 in every cell, so a map is the brightness of the asked channel over 64."""
    pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    pixels[:, 0, :8, :8], pixels[:, 2, 16:24, 24:] = 255, 255  # a red square above, a blue one below
    red_then_blue = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])
    model = Channels()
    maps = METHODS["grad_cam"](model, pixels, red_then_blue).detach()
    for row, channel in enumerate((0, 2)):
        expected = nn.functional.avg_pool2d(pixels[row].float() / 255, 4)[channel] / 64
        assert torch.allclose(maps[row], expected, atol=1e-6)
        assert expected.argmax() == maps[row].argmax() and maps[row].max() > 0
    assert maps[0, :2, :2].min() > 0 and maps[0, 2:].abs().max() == 0
    assert maps[1, 4:6, 6:].min() > 0 and maps[1, :4].abs().max() == 0


def test_the_map_of_a_photo_that_fits_its_query_exactly_is_not_empty():
    """The slope of their cosine is zero."""
    red = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    red[:, 0] = 255
    maps = METHODS["grad_cam"](Channels(), red, torch.tensor([[5.0, 0, 0]])).detach()
    assert torch.allclose(maps, torch.full((1, 8, 8), 1 / 64))


def test_grad_cam_goes_back_no_further_than_to_the_layer_that_it_shows(monkeypatch):
    layer_outputs, reached = attention._layer_outputs, []

    def watched(*arguments):
        outputs, features = layer_outputs(*arguments)
        for number, output in enumerate(outputs):
            output.register_hook(lambda _, number=number: reached.append(number))
        return outputs, features

    monkeypatch.setattr(attention, "_layer_outputs", watched)
    maps = METHODS["grad_cam"](vit(global_pool="avg"), photos(64), _queries())
    assert maps.shape[1] == 8 and reached and min(reached) > 0


def test_grad_cam_depends_on_the_query_and_pooling_weights_do_not():
    for image, differs in ((CONVNEXT, True), (CONVNEXT | {"pooling": "attentive"}, False)):
        model = built(image, 64)
        first, second = (attention_maps(model, photos(64), sign * _queries()).maps for sign in (1, -1))
        assert (abs(first - second).max() > 1e-3) == differs


def test_a_photo_s_map_does_not_depend_on_the_others():
    model = built(CONVNEXT, 64)
    both = attention_maps(model, photos(64), _queries()).maps
    alone = attention_maps(model, photos(64)[1:], _queries()[1:]).maps
    assert both[1] == pytest.approx(alone[0], abs=1e-3)


class Opaque(Channels):
    def forward_blocks(self):
        return [ForwardBlock(("all",), lambda pixels: pixels.mean((2, 3)))]


def test_a_tower_without_cells_gives_no_map():
    assert METHODS["grad_cam"](Opaque(), photos(), torch.ones(2, 3)) is None


def test_no_hook_and_no_gradient_stays_on_the_model():
    for model, size in ((vit(), 32), (built(CONVNEXT | {"pooling": "attentive"}, 64), 64), (built(CONVNEXT, 64), 64)):
        before = {name: len(module._forward_pre_hooks) for name, module in model.named_modules()}
        attention_maps(model, photos(size), _queries())
        assert before == {name: len(module._forward_pre_hooks) for name, module in model.named_modules()}
        assert all(value.grad is None for value in model.parameters())

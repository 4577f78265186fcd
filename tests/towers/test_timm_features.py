"""Features of timm towers: pooled output, a new layer, class logits, and poolings of the last feature map."""

import json

import pytest
import timm
import torch
from model_settings import make_model_params
from safetensors.torch import save_file

from pipeline_lib.towers.image_pooling import IMAGE_POOLING
from pipeline_lib.towers.timm_tower import TimmTower, resolve_timm
from pipeline_lib.towers.weights import load_strictly

DIMS = {"depths": [1, 1, 1, 1], "dims": [8, 12, 16, 64]}


def resolved(embedding_dim=8, fusion="late", **image):
    values = {"name": "convnext_atto", "args": DIMS, "pretrained": False, **image}
    return resolve_timm(make_model_params(values, embedding_dim=embedding_dim, fusion=fusion))


def pixels(size=64):
    torch.manual_seed(1)
    return torch.randn(2, 3, size, size)


@pytest.fixture
def classifier(tmp_path):
    """A complete model of seven classes, and the file of its weights."""
    torch.manual_seed(0)
    model = timm.create_model("mobilenetv2_035", num_classes=7).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    return model, str(tmp_path / "model.safetensors")


def test_logits_equal_those_of_the_model(classifier):
    model, file = classifier
    image = {"name": "mobilenetv2_035", "weights": file, "pretrained": True, "args": {"num_classes": 7}}
    source = resolved(**image, feature="logits")
    tower = TimmTower(source.description)
    load_strictly(tower, source.state, file, source.new)
    with torch.no_grad():
        assert torch.allclose(tower.eval()(pixels()), model(pixels()), atol=1e-5)
    assert tower.dim == 7 and not source.new
    listed = [name for group in tower.layer_groups() for name in group.parameters]
    assert "trunk.classifier.weight" in tower.layer_groups()[-1].parameters
    assert len(listed) == len(list(tower.parameters()))


def test_logits_have_the_published_number_of_classes():
    assert resolved(feature="logits").description["classes"] == 1000


def test_logits_without_a_classifier_are_refused(classifier, tmp_path):
    model, _ = classifier
    trunk = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.")}
    save_file(trunk, tmp_path / "trunk.safetensors")
    image = {"name": "mobilenetv2_035", "weights": str(tmp_path / "trunk.safetensors"), "pretrained": True}
    source = resolved(**image, args={"num_classes": 7}, feature="logits")
    with pytest.raises(ValueError, match=r"2 missing, e\.g\. trunk\.classifier\.bias"):
        load_strictly(TimmTower(source.description), source.state, "trunk.safetensors", source.new)


def test_a_new_layer_follows_the_loaded_trunk(classifier):
    model, file = classifier
    source = resolved(name="mobilenetv2_035", weights=file, pretrained=True, args={}, feature="new_fc", embedding_dim=5)
    tower = TimmTower(source.description)
    load_strictly(tower, source.state, file, source.new)
    model.reset_classifier(0)
    with torch.no_grad():
        assert torch.allclose(tower.eval()(pixels()), tower.fc(model(pixels())), atol=1e-5)
    assert source.new == ("fc.",) and tower.dim == 5
    assert tower.layer_groups()[-1].parameters == ("fc.weight", "fc.bias")


@pytest.mark.parametrize("kind", IMAGE_POOLING)
def test_every_pooling_is_the_last_group_and_is_rebuilt(kind):
    source = resolved(pooling=kind)
    tower = TimmTower(source.description).eval()
    rebuilt = TimmTower(json.loads(json.dumps(source.description))).eval()
    load_strictly(rebuilt, tower.state_dict(), "memory")
    with torch.no_grad():
        assert torch.equal(tower(pixels()), rebuilt(pixels()))
        assert tower(pixels()).shape == (2, tower.dim)
    assert tower.dim == (8 if kind.endswith("_attn") else 64)
    new = [name for name, _ in tower.named_parameters() if name.startswith("pool.")]
    assert bool(new) is bool(source.new)
    if new:
        assert list(tower.layer_groups()[-1].parameters) == new
    assert sum(group.name == "pool" for group in tower.layer_groups()) == bool(new)


@pytest.mark.parametrize(("kind", "reduce"), [("mean", lambda x: x.mean((2, 3))), ("max", lambda x: x.amax((2, 3)))])
def test_poolings_read_the_normalised_feature_map(kind, reduce):
    """As in open_clip: without the trunk's pooling, its final norm normalises every cell."""
    tower = TimmTower(resolved(pooling=kind).description).eval()
    with torch.no_grad():
        cells = tower.trunk.head.norm(tower.trunk.forward_features(pixels()))
        assert torch.allclose(tower(pixels()), reduce(cells), atol=1e-6)


def test_abs_attn_equals_open_clips():
    from open_clip.timm_model import TimmModel

    torch.manual_seed(0)
    theirs = TimmModel("resnet10t", embed_dim=8, image_size=64, pool="abs_attn", proj="").eval()
    tower = TimmTower(resolved(name="resnet10t", args={}, pooling="abs_attn").description).eval()
    state = {name.replace("head.pool.", "pool.pool."): value for name, value in theirs.state_dict().items()}
    load_strictly(tower, state, "open_clip")
    with torch.no_grad():
        assert torch.allclose(tower(pixels()), theirs(pixels()), atol=1e-5)


def test_a_transformers_tokens_are_its_patches():
    args = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
    image = {"name": "vit_tiny_patch16_224", "args": args}
    with torch.no_grad():
        tower = TimmTower(resolved(fusion="early", **image).description).eval()
        all_tokens = tower.trunk(pixels(32))
        assert all_tokens.shape == (2, 17, 24)
        assert torch.equal(tower.tokens(pixels(32)), all_tokens[:, 1:])


def test_feature_maps_with_channels_last_are_permuted(tmp_path):
    args = {"img_size": 64, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
    source = resolved(name="swin_tiny_patch4_window7_224", args=args, size=64, pooling="mean")
    tower = TimmTower(source.description).eval()
    with torch.no_grad():
        assert torch.allclose(tower(pixels()), tower.trunk(pixels()).mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"pooling": "abs_attn", "args": {**DIMS, "dims": [8, 8, 8, 24]}}, "24 features are not a multiple of 64"),
        (
            {"pooling": "rot_attn", "name": "vit_tiny_patch16_224", "args": {}},
            "has no feature map; use attentive",
        ),
        (
            {"feature": "logits", "pooling": "gem"},
            "'logits' cannot be combined with model.image.pooling = gem",
        ),
        ({"feature": "new_fc", "fusion": "early"}, "'new_fc' cannot be combined with model.fusion = early"),
        ({"weights": "a.safetensors"}, "weights = 'a.safetensors', but model.image.pretrained is false"),
    ],
)
def test_conflicting_settings_are_refused_in_one_line(image, message):
    with pytest.raises(ValueError, match=message) as error:
        TimmTower(resolved(**image).description)
    assert "\n" not in str(error.value)


def test_an_architecture_without_published_weights_is_refused():
    with pytest.raises(ValueError, match=r"cannot load its published weights .*or model\.image\.pretrained = false"):
        resolved(name="convnext_atto_rms", args={}, pretrained=True)

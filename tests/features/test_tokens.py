"""Stored tokens are what the tower pools, so they pool to its stored output; resumed, limited, read in one gather."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from model_settings import make_model_params
from tiny_clip import CONFIG, CustomTextCLIP, make_clip, written
from tiny_project import PARAMS, write_project

from pipeline_lib.features.boundaries import find_pooling
from pipeline_lib.features.inputs import ExtractionRun, read_extraction_inputs
from pipeline_lib.features.progress import Progress
from pipeline_lib.features.tower_stores import open_boundary, open_pooled, open_tokens, stored_views
from pipeline_lib.features.trunk import TrunkOptions, extract_trunk
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.params.features import FeaturesParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.store import MATRIX
from pipeline_lib.towers.kinds import build_image_tower, resolve_image_tower, resolve_towers

TOKENS = TrunkOptions(tokens=True)
ARGS = {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("project"), 12)


def model(text, name, image=None, **changes):
    return make_model_params({"name": name, "pretrained": False, **(image or {})}, {"name": str(text)}, **changes)


def write(params, inputs, out, dtype="float16", options=TOKENS, **run):
    """Write the stores of a model's towers; return their sources."""
    torch.manual_seed(0)
    sources, extracted = resolve_towers(params), read_extraction_inputs(inputs.catalogue, inputs.shards, None)
    engine = InferenceEngine("cpu", run.pop("batch_size", 5), 0, "fp32")
    extract_trunk(sources, extracted, out, ExtractionRun(engine, dtype, **run), options)
    return sources


def opened(out, sources):
    pooled, tokens = (open_(out, "image", sources["image"]) for open_ in (open_pooled, open_tokens))
    assert pooled.ids == tokens.ids and tokens.header.groups_behind == 0
    rows = np.arange(len(tokens.ids))
    return pooled.rows(pooled.ids), tokens, tokens.stored_tokens(rows).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "args", "grid", "pool"),
    [
        ("vit_tiny_patch16_224", ARGS, [17], lambda tokens: tokens[:, 0]),
        ("vit_tiny_patch16_224", {**ARGS, "global_pool": "avg", "fc_norm": False}, [17], lambda x: x[:, 1:].mean(1)),
        ("vit_tiny_patch16_224", {**ARGS, "class_token": False, "global_pool": "avg", "fc_norm": False}, [16],
         lambda tokens: tokens.mean(1)),
        ("test_resnet", {}, [1, 1], lambda cells: cells.mean(1)),
        ("test_resnet", {}, [2, 2], lambda cells: cells.mean(1)),
        ("test_efficientnet", {}, [2, 2], lambda cells: cells.mean(1)),
    ],
    ids=["class token", "mean of patches", "no class token", "one cell", "map", "norm and head convolution"],
)  # fmt: skip
def test_stored_tokens_pool_to_the_stored_output(inputs, tiny_text_folder, tmp_path, name, args, grid, pool):
    size = 64 if grid == [2, 2] else 32
    sources = write(model(tiny_text_folder, name, {"args": args, "size": size}), inputs, tmp_path / "trunk")
    pooled, store, tokens = opened(tmp_path / "trunk", sources)
    assert store.header.grid == grid and tokens.shape == (len(pooled), int(np.prod(grid)), pooled.shape[1])
    assert np.abs(pooled).max() > 0.01 and np.allclose(pool(tokens), pooled, atol=2e-3 * np.abs(tokens).max())
    # Nothing but the tokens is more than what `pooled` stores.
    assert open_boundary(tmp_path / "trunk", "image", sources["image"]) is None
    assert {path.name for path in (tmp_path / "trunk").iterdir()} == {"image", "image-tokens", "text", "joint.json"}


@pytest.mark.parametrize("vision", [{}, {"final_ln_after_pool": True}, {"attentional_pool": True}], ids=str)
def test_tokens_of_a_clip_tower_are_its_own_before_the_projection(tmp_path, vision):
    """open_clip's class token, normed where the norm comes before the pooling, times the projection is the output."""
    config = {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], **vision}}
    kind = {"kind": "open_clip", "name": written(tmp_path, config), "pretrained": False}
    tower = build_image_tower(resolve_image_tower(make_model_params(kind)).description).eval()
    visual = make_clip(config, CustomTextCLIP).visual
    tower.visual.load_state_dict(visual.state_dict())
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        tokens, features = tower.encode_tokens(pixels)
        assert torch.allclose(features, tower.encode(pixels), atol=1e-6) and tokens.shape == (2, 17, 64)
        if "attentional_pool" in vision:
            pooled = visual.ln_post(visual.attn_pool(tokens))[:, 0]
        else:
            pooled = visual.ln_post(tokens[:, 0]) if vision else tokens[:, 0]
        assert torch.allclose(pooled @ visual.proj, features, atol=1e-5)


def test_every_kind_of_tower_pools_what_it_gives_as_tokens(tmp_path):
    """open_clip's ResNet and timm trunks; timm's own with new poolings, and one that norms behind its pooling."""
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}
    resnet = {**CONFIG, "embed_dim": 24, "vision_cfg": vision}
    trunk = {"timm_model_name": "resnet10t", "timm_pool": "", "timm_proj": "linear", "image_size": 64}
    for number, (image, grid) in enumerate([
        ({"kind": "open_clip", "config": resnet}, (2, 2)),
        ({"kind": "open_clip", "config": {**CONFIG, "vision_cfg": trunk}}, (2, 2)),
        ({"kind": "open_clip", "config": {**CONFIG, "vision_cfg": {**trunk, "timm_pool": "abs_attn"}}}, (2, 2)),
        ({"name": "convnext_atto", "args": {"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 16]}}, (2, 2)),
        ({"name": "convnext_atto", "args": {"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 16]}, "pooling": "gem"}, (2, 2)),
        ({"name": "vit_tiny_patch16_224", "args": ARGS, "pooling": "max"}, (65,)),
        ({"name": "vit_tiny_patch16_224", "args": ARGS, "feature": "logits"}, (65,)),
        ({"name": "test_vit3"}, (17,)),
        ({"name": "swin_tiny_patch4_window7_224", "args": {"embed_dim": 8, "depths": [1, 1, 1, 1]}}, (2, 2)),
    ]):  # fmt: skip
        if "config" in image:
            (tmp_path / str(number)).mkdir()
            image = {**image, "name": written(tmp_path / str(number), image["config"])}
            del image["config"]
        source = resolve_image_tower(make_model_params({"pretrained": False, "size": 64, **image}))
        tower = build_image_tower(source.description).eval()
        pixels = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
        with torch.inference_mode():
            found = find_pooling(tower, source, pixels)
            tokens, features = tower.encode_tokens(pixels)
            assert torch.allclose(features, tower.encode(pixels), atol=1e-5)
        assert found.tokens and found.shape[:-1] == grid and tokens.shape[1:] == found.shape, (image, found)


def test_a_tower_without_tokens_stores_none_and_says_why(inputs, tiny_text_folder, tmp_path):
    messages = []
    write(model(tiny_text_folder, "convnext_atto", fusion="early"), inputs, tmp_path, log=messages.append)
    assert messages[0].startswith("image: model.fusion = early reads tokens, which are not stored")
    assert not (tmp_path / "image-tokens").exists()
    source = resolve_image_tower(make_model_params({"name": "test_resnet", "pretrained": False}))
    tower = build_image_tower(source.description).eval()
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        tower.trunk.forward = lambda values: values.mean((2, 3)).repeat(1, 2)
        assert find_pooling(tower, source, pixels).note == "ResNet pools other values than its tokens"
        tower.trunk.forward_features = lambda values: values.mean((2, 3))
        expected = "ResNet gives no tokens to store (ResNet returns no feature map and no tokens)"
        assert find_pooling(tower, source, pixels).note == expected


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_batch_of_tokens_equals_a_slow_loop_with_drawn_views_too(inputs, tiny_text_folder, tmp_path, dtype):
    drawn = DrawnViews("jitter_flip", None, 2, 0)
    options = TrunkOptions(tokens=True, drawn=drawn)
    params = model(tiny_text_folder, "test_resnet", {"size": 64})
    sources = write(params, inputs, tmp_path, dtype, options)
    assert stored_views(tmp_path) == drawn
    fixed, views = (open_tokens(tmp_path, "image", sources["image"], drawn=of) for of in (None, drawn))
    rows = np.random.default_rng(0).integers(len(fixed.ids), size=64)
    numbers = np.random.default_rng(1).integers(2, size=64)
    for got, store, items in (
        (fixed.stored_tokens(rows), fixed, rows), (views.stored_tokens(rows, numbers), views, 2 * rows + numbers),
    ):  # fmt: skip
        assert got.dtype == store.matrix.dtype and got.shape == (64, 4, fixed.header.width)
        for item, tokens in zip(items, got, strict=True):
            assert np.array_equal(tokens, store.matrix[4 * item : 4 * item + 4])
    with pytest.raises(ValueError, match=r"image-tokens: made by encoder"):
        open_tokens(tmp_path, "image", resolve_towers(model(tiny_text_folder, "test_resnet", {"size": 48}))["image"])
    assert open_tokens(tmp_path, "text", sources["text"]) is None


def test_a_killed_extraction_of_tokens_resumes_with_the_same_bytes(inputs, tiny_text_folder, tmp_path, monkeypatch):
    params, messages = model(tiny_text_folder, "test_resnet", {"size": 32}), []
    source = write(params, inputs, tmp_path / "whole")["image"]
    tower = build_image_tower(source.description).eval()
    monkeypatch.setattr("pipeline_lib.features.trunk.untrained_image_tower", lambda *_: deepcopy(tower))
    write(params, inputs, tmp_path / "whole", batch_size=4)
    (progress := tmp_path / "progress").mkdir()
    monkeypatch.setattr(Progress, "_next_shard", lambda self, photos: photos // 8)
    save = Progress.save

    def interrupted(self, photos, *flushes):
        save(self, photos, *flushes)
        if photos >= 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "save", interrupted)
        write(params, inputs, tmp_path / "killed", batch_size=4, progress=progress)
    assert not (tmp_path / "killed/image-tokens/header.json").exists()
    write(params, inputs, tmp_path / "killed", batch_size=4, progress=progress, log=messages.append)
    assert messages[-1] == "image: resumes after 8 of 14 photos"
    whole, killed = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "image-tokens").iterdir()}
        for name in ("whole", "killed")
    )
    assert whole == killed and len(whole) == 3


def test_the_size_is_stated_and_limited_before_the_tower_runs(inputs, tiny_text_folder, tmp_path, monkeypatch):
    params, messages = model(tiny_text_folder, "test_resnet", {"size": 64}), []
    write(params, inputs, tmp_path / "trunk", log=messages.append)
    assert "14 photos: output 2.69 KB, before pooling (2 x 2 x 96) 10.8 KB; 14 texts: output " in messages[0]
    size = sum(len(path.read_bytes()) - 128 for path in (tmp_path / "trunk").rglob(MATRIX))
    write(params, inputs, tmp_path / "fits", options=TrunkOptions(tokens=True, max_gb=size / 1e9))
    monkeypatch.setattr("pipeline_lib.features.photos.encode_photos", lambda *_: pytest.fail("a tower was run"))
    message = r"would be stored as float16 .*; increase it, or set features.trunk.at = pooled or features.dtype"
    with pytest.raises(ValueError, match=message):
        write(params, inputs, tmp_path / "none", options=TrunkOptions(tokens=True, max_gb=(size - 1) / 1e9))


def test_the_setting_asks_for_tokens():
    params = load_params(PARAMS)
    for at, expected in (("pooled", (0, False)), ("boundary", (4, False)), ("tokens", (0, True))):
        params["features"]["trunk"] |= {"at": at, "layers": 4}
        options = TrunkOptions.of(parse_section(FeaturesParams, params).trunk, 5.0)
        assert (options.layers, options.tokens) == expected

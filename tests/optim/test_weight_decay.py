"""Parameters without weight decay: those an architecture names, position embeddings and tokens, biases and norms."""

import pytest
import timm
import torch
from adapted_towers import bert, vit
from timm.optim import param_groups_weight_decay
from tiny_clip import CONFIG, filled, make_clip, resolved, written
from torch import nn

from pipeline_lib.optim.param_groups import tower_groups
from pipeline_lib.optim.weight_decay import undecayed_names
from pipeline_lib.params.section import load_params
from pipeline_lib.params.train import TrainParams

SMALL = {"img_size": 64, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4}


def names_of(tower, decayed):
    """The names of the parameters that AdamW decays, or those that it does not."""
    train = TrainParams.model_validate({**load_params()["train"], "weight_decay": 0.1})
    groups = tower.layer_groups()
    names = {id(value): name for name, value in tower.named_parameters()}
    return {
        names[id(value)]
        for group in tower_groups(tower, groups, [0] * len(groups), train, "image")
        for value in group["params"]
        if (group["weight_decay"] > 0) is decayed
    }


def matrices_without_decay(model):
    values = dict(model.named_parameters())
    return {name for name in undecayed_names(model) if values[name].ndim > 1}


def test_a_vits_positions_and_class_token_are_not_decayed():
    tower = vit()
    free = {name for name in names_of(tower, decayed=False) if dict(tower.named_parameters())[name].ndim > 1}
    assert free == {"trunk.pos_embed", "trunk.cls_token"}
    assert "trunk.patch_embed.proj.weight" in names_of(tower, decayed=True)


def test_berts_position_embeddings_are_not_decayed_and_its_words_are():
    tower = bert()
    free = {name for name in names_of(tower, decayed=False) if dict(tower.named_parameters())[name].ndim > 1}
    assert len(free) == 1 and next(iter(free)).endswith("embeddings.position_embeddings.weight")
    assert any(name.endswith("word_embeddings.weight") for name in names_of(tower, decayed=True))


def test_open_clips_positions_and_class_embedding_are_not_decayed(tmp_path):
    from safetensors.torch import save_file

    model = make_clip()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "clip.safetensors")
    image, text = filled(resolved(written(tmp_path, CONFIG), tmp_path / "clip.safetensors"))
    assert matrices_without_decay(image) == {"visual.positional_embedding"}
    assert {"visual.class_embedding", "visual.ln_pre.weight"} <= names_of(image, decayed=False)
    assert matrices_without_decay(text) == {"text.positional_embedding"}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("swin_tiny_patch4_window7_224", SMALL), ("swinv2_tiny_window8_256", SMALL),
     ("xcit_nano_12_p16_224", {"depth": 2}), ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)})],
)  # fmt: skip
def test_what_timms_own_optimizers_leave_out_is_not_decayed(name, arguments):
    model = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    tower = nn.ModuleDict({"trunk": model})
    own = param_groups_weight_decay(model, 0.1, getattr(model, "no_weight_decay", lambda: ())())
    names = {id(value): key for key, value in tower.named_parameters()}
    theirs = {names[id(value)] for group in own if not group["weight_decay"] for value in group["params"]}
    assert theirs <= undecayed_names(tower)
    assert any("pos_embed" in key for key in undecayed_names(tower)) or "xcit" not in name


def test_biases_and_norms_of_any_shape_are_not_decayed():
    class ChannelNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(1, 3, 1, 1)), nn.Parameter(torch.ones(1, 3, 1, 1))

    model = nn.ModuleDict({"norm": ChannelNorm(), "conv": nn.Conv2d(3, 1, 1)})
    model.register_parameter("tail_bias", nn.Parameter(torch.ones(2, 2)))
    assert undecayed_names(model) == {"norm.weight", "norm.bias", "conv.bias", "tail_bias"}

"""Compiled towers train and are saved as plain ones; compiler errors are one line."""

import copy
import shutil
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from tiny_project import make_settings, write_project
from torch._dynamo.backends.registry import lookup_backend
from transformers import BertConfig, BertModel

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.models.saved import read_state
from pipeline_lib.training import compiling
from pipeline_lib.training.fold import train_fold

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("isolated"),
]


def run(settings, inputs, name, compiled):
    (out := inputs.catalogue.parent / name).mkdir()
    runtime = settings.runtime.model_copy(update={"compile": compiled})
    train_fold(replace(settings, runtime=runtime), inputs, 0, name, out)
    return out


@pytest.fixture
def shallow_towers(tmp_path, tiny_text_folder):
    """Two towers of two blocks: every block is traced for several shapes, with gradients and without."""
    name = "vit_tiny_patch16_224"
    arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    image, text = tmp_path / "image-tower", shutil.copytree(tiny_text_folder, tmp_path / "text-tower")
    image.mkdir()
    save_file(timm.create_model(name, num_classes=0, **arguments).state_dict(), image / "model.safetensors")
    write_json(image / "config.json", {"architecture": name, "model_args": arguments})
    config = BertConfig.from_pretrained(text, num_hidden_layers=2)
    BertModel(config).save_pretrained(text)
    return image, text


def test_history_and_weights_equal_a_plain_run(tmp_path, shallow_towers, monkeypatch):
    """The backend traces and differentiates but writes no kernels, so no C++ compiler is needed."""
    traced = []

    def counted(graph, inputs):
        traced.append(1)
        return lookup_backend("aot_eager")(graph, inputs)

    monkeypatch.setattr(compiling, "BACKEND", counted)
    inputs = write_project(tmp_path / "project")
    settings = make_settings(*shallow_towers, unfreeze_layers=2, epochs=2)
    plain, compiled = run(settings, inputs, "plain", False), run(settings, inputs, "compiled", True)
    assert len(traced) >= 2
    rows = [np.genfromtxt(out / "history.csv", delimiter=",", names=True) for out in (plain, compiled)]
    for name in rows[0].dtype.names:
        assert np.allclose(rows[0][name], rows[1][name], rtol=1e-4), name
    one, other = (read_state(out) for out in (plain, compiled))
    assert list(one) == list(other)
    assert all(torch.allclose(value, other[name], atol=1e-4) for name, value in one.items())


def test_a_compiler_error_is_one_line(tmp_path, towers, monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no C++ compiler here\nand forty lines more")

    monkeypatch.setattr(compiling, "BACKEND", broken)
    with pytest.raises(ValueError, match="compile") as raised:
        run(make_settings(*towers), write_project(tmp_path / "project"), "out", True)
    assert str(raised.value) == (
        "runtime.compile = true: torch cannot compile a tower here (no C++ compiler here); set runtime.compile = false"
    )


def test_other_errors_are_not_changed(tmp_path, towers, monkeypatch):
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    with pytest.raises(ValueError, match=r"fold 7: no product is held out"):
        settings = make_settings(*towers)
        train_fold(settings, write_project(tmp_path / "project"), 7, "out", tmp_path)
    with pytest.raises(KeyError, match="other"), compiling.named_compile_failures():
        raise KeyError("other")


def test_early_fusion_is_refused(tmp_path, towers):
    settings = make_settings(*towers)
    early = replace(settings, model=settings.model.model_copy(update={"fusion": "early"}))
    with pytest.raises(ValueError, match=r"^runtime.compile = true does not support model.fusion = early"):
        run(early, write_project(tmp_path / "project"), "out", True)


def test_a_copy_of_a_compiled_module_is_not_compiled():
    """Checkpoints have states only, and the momentum encoder is copied before compilation."""
    tower = torch.nn.Linear(2, 2)
    tower.compile(backend="eager")
    assert copy.deepcopy(tower)._compiled_call_impl is None and list(tower.state_dict()) == ["weight", "bias"]

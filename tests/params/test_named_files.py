"""What files of a model name themselves lies where DVC looks: an index's parts, a config's models, a card's base."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline_lib.params.all_sections import check_all
from pipeline_lib.params.section import load_params

REPO = Path(__file__).parents[2]
KEYS = ("model.image.name", "model.text.name", "model.text.tokenizer", "composed.q_former.weights")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a model in data/weights, as the working folder, beside weights that DVC does not hash."""
    project = tmp_path / "project"
    for folder in ("data/weights/tower/parts", "data/weights/other", "data/starts/old/0", "exported", ".dvc"):
        (project / folder).mkdir(parents=True)
    for file in (
        "data/weights/tower/parts/1.safetensors",
        "data/weights/other/x.safetensors",
        "exported/x.safetensors",
    ):
        (project / file).touch()
    (tmp_path / "x.safetensors").touch()
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(project)
    return project


def check(project: Path, key: str, value: str) -> None:
    params: dict[str, Any] = load_params(REPO / "params.yaml")
    params["model"]["weights_root"] = "data/weights"
    params["model"]["image"] |= {"name": "resnet18", "weights": None}
    params["model"]["text"] |= {"name": "google-bert/bert-base-uncased", "tokenizer": None}
    params["plan"] |= {"composed": ["q_former"], "features": ["trunk"]}
    params["features"]["trunk"]["at"] = "tokens"
    *groups, last = key.split(".")
    section = params
    for group in groups:
        section = section[group]
    section[last] = [Path(value).name] if isinstance(section[last], list) else value
    check_all(params, project / "params.yaml")


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


# A file of a model's folder -> what it has beside the value, as a function of the value.
FILES = {
    "model.safetensors.index.json": lambda value: {"weight_map": {"a": "parts/1.safetensors", "b": value}},
    "pytorch_model.bin.index.json": lambda value: {"weight_map": {"b": value}},
    "config.json": lambda value: {"model_args": {"pretrained_cfg_overlay": {"file": value}}},
    "open_clip_config.json": lambda value: {"model_cfg": {"text_cfg": {"hf_model_name": value}}},
    "tokenizer_config.json": lambda value: {"init_inputs": [value], "unk_token": "/"},
    "adapter_config.json": lambda value: {"base_model_name_or_path": value},
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("way", ["beside", "working folder", "absolute", "bytes in UTF-16"])
def test_a_name_that_leads_out_of_the_root_of_weights_is_refused(project, key, file, way):
    value = {
        "beside": "../../../../x.safetensors",
        "working folder": "exported/x.safetensors",
        "absolute": str(project.parent / "x.safetensors"),
    }.get(way, "exported/x.safetensors")
    path = project / "data/weights/tower" / file
    write(path, FILES[file](value) | {"unk_token": None})
    if way == "bytes in UTF-16":
        path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    with pytest.raises(ValueError, match=r"^") as error:
        check(project, key, "data/weights/tower")
    line = str(error.value)
    assert "\n" not in line and f"{key} = 'data/weights/tower': {path}: " in line and repr(value) in line
    assert "so no stage would notice an edit of it; put it there, or set model.weights_root" in line


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "value", ["parts/1.safetensors", "../other/x.safetensors", "/none/x.safetensors", "a/b", "bert-base-uncased"]
)
def test_names_in_the_root_and_those_of_no_file_are_read(project, key, file, value):
    """Published tokenizers have paths of their author's machine, which nothing follows."""
    write(project / "data/weights/tower" / file, FILES[file](value) | {"unk_token": None})
    check(project, key, "data/weights/tower")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", {"_name_or_path": "../../../exported", "architectures": ["BertModel"], "act": "gelu"}),
        ("tokenizer_config.json", {"name_or_path": "exported/x.safetensors"}),
        ("tokenizer.json", {"model": {"vocab": {"/": 1}, "merges": ["/ ."]}}),
        ("vocab.json", ["/", ".."]),
    ],
)
def test_where_a_model_came_from_and_the_tokens_of_a_vocabulary_are_no_names_of_files(project, file, content):
    write(project / "data/weights/tower" / file, content)
    check(project, KEYS[0], "data/weights/tower")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe\0", b"[" * 50_000, b'"\\ud800/x"', b"null"])
def test_a_damaged_file_names_nothing(project, data):
    """Whoever reads it says what is wrong with it."""
    (project / "data/weights/tower/config.json").write_bytes(data)
    check(project, KEYS[0], "data/weights/tower")


def test_a_config_of_open_clip_names_a_folder_without_a_slash(project):
    config = project / "data/weights/tower/c.json"
    write(config, {"text_cfg": {"hf_tokenizer_name": "bert-base-uncased"}})
    check(project, KEYS[0], "data/weights/tower/c.json")
    write(config, {"text_cfg": {"hf_tokenizer_name": "exported"}})
    with pytest.raises(ValueError, match=r"c\.json: text_cfg\.hf_tokenizer_name = 'exported': outside"):
        check(project, KEYS[0], "data/weights/tower/c.json")


@pytest.mark.parametrize("key", ["train.init_from", "plan.teachers"])
def test_the_base_of_a_saved_model_lies_in_the_root_of_weights(project, key):
    card = project / "data/starts/old/0/model.json"
    entry = {"file": "data/weights/other/x.safetensors", "params": {"name": "resnet18"}, "tensors": {"a.b": "b"}}
    write(card, {"run": {"path": "exported/x.safetensors"}, "base": {"image": entry}})
    check(project, key, "data/starts/old")
    for value in ("exported/x.safetensors", str(project.parent / "x.safetensors")):
        for bad in (entry | {"file": value}, entry | {"file": None, "params": {"weights": value}}):
            write(card, {"run": {}, "base": {"image": bad}})
            with pytest.raises(ValueError, match=rf"{key}.*: {card}: base\.image\..*outside {project}/data/weights"):
                check(project, key, "data/starts/old")


def test_the_files_of_a_published_teacher_are_checked_too(project):
    pair = project / "data/starts/old/model.yaml"
    with pair.open("w", encoding="utf-8") as stream:
        YAML().dump({"text": {"name": "data/weights/tower"}}, stream)
    index = project / "data/weights/tower/model.safetensors.index.json"
    write(index, {"weight_map": {"a": "../../../exported/x.safetensors"}})
    with pytest.raises(ValueError, match=rf"^{pair}: model\.text\.name = .*index\.json: weight_map\.a = "):
        check(project, "plan.teachers", "data/starts/old")

"""Whatever params name for a stage to read lies in a folder that DVC hashes for that stage."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline_lib.params.all_sections import check_all, check_params
from pipeline_lib.params.section import load_params

REPO = Path(__file__).parents[2]
TOWERS = ("model.image.name", "model.image.weights", "model.text.name", "model.text.weights", "model.text.tokenizer")
# Settings that may name local weights, and others that the libraries of towers take.
WEIGHTS = (
    *TOWERS, "model.image.args.checkpoint_path", "model.image.args.pretrained_cfg_overlay.file",
    "model.text.config.hf_model_name", "composed.q_former.weights", "composed.q_former.tokenizer",
)  # fmt: skip
FOLDERS = ("train.init_from", "ensemble.fuse_with", "plan.teachers", "plan.judged")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project with weights in data/weights, and weights elsewhere in it and outside; the working folder."""
    project = tmp_path / "project"
    for folder in ("data/weights/clip", "data/starts/old/0", "data/judgements", "exported/clip", ".dvc/cache/files"):
        (project / folder).mkdir(parents=True)
    for file in ("data/weights/clip/w.safetensors", "exported/clip/w.safetensors", "data/starts/old/0/model.json"):
        (project / file).touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/w.safetensors").touch()
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(project)
    return project


def params(**changes: Any) -> dict[str, Any]:
    """Return the project's params with other weights: names of a hub, and what `changes` says by dotted key."""
    values = load_params(REPO / "params.yaml")
    model = values["model"]
    model["weights_root"] = "data/weights"
    model["image"] |= {"name": "resnet18", "weights": None}
    model["text"] |= {"name": "google-bert/bert-base-uncased", "tokenizer": None}
    values["plan"] |= {"composed": ["q_former"], "features": ["trunk"]}
    values["features"]["trunk"]["at"] = "tokens"
    for key, value in changes.items():
        *groups, last = key.split(".")
        inner = values
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return values


def refused(values: dict[str, Any], project: Path) -> str:
    with pytest.raises(ValueError, match=r"^") as error:
        check_all(values, project / "params.yaml")
    line = str(error.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "name", ["data/weights/clip/w.safetensors", "data/weights/clip", "./data/weights/../weights/clip"]
)
@pytest.mark.parametrize("key", WEIGHTS)
def test_weights_below_their_root_are_read(project, key, name):
    check_all(params(**{key: name}), project / "params.yaml")
    check_all(params(**{key: str(project / name)}), project / "params.yaml")


def test_an_empty_argument_of_a_library_is_no_path(project):
    """timm's `global_pool: ''` is its name for no pooling."""
    check_all(params(**{"model.image.args": {"global_pool": ""}}), project / "params.yaml")


@pytest.mark.parametrize(
    "name", ["laion2b_s34b_b79k", "hf-hub:timm/vit", "openai", "Salesforce/blip2-itm-vit-g", "x" * 5000]
)
@pytest.mark.parametrize("key", WEIGHTS)
def test_names_of_a_hub_are_no_paths(project, key, name):
    check_all(params(**{key: name}), project / "params.yaml")


@pytest.mark.parametrize(
    "name",
    [
        "exported/clip", "exported/clip/w.safetensors", "../outside/w.safetensors", "data/weights/../../exported/clip",
        "{outside}", "{outside}/w.safetensors", "local-dir:{outside}", "local-dir:exported/clip", "~/w.safetensors",
        "none.safetensors", "/none",
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", WEIGHTS)
def test_weights_outside_their_root_are_refused(project, key, name):
    name = name.format(outside=project.parent / "outside")
    line = refused(params(**{key: name}), project)
    assert line.startswith(
        f"{project}/params.yaml: {key} = {name!r}: outside {project}/data/weights, so no stage would"
    )
    assert line.endswith("put it there, or set model.weights_root to a folder that has all local weights")


@pytest.mark.parametrize("key", TOWERS)
def test_links_of_weights_go_to_files_of_the_project_and_its_cache_alone(project, key):
    weights = project / "data/weights"
    cached = project / ".dvc/cache/files/12"
    cached.touch()
    for name, target in (("a", cached), ("b", project / "exported/clip/w.safetensors"), ("c", "clip/w.safetensors")):
        (weights / f"{name}.safetensors").symlink_to(target)
        check_all(params(**{key: f"data/weights/{name}.safetensors"}), project / "params.yaml")
    (weights / "linked").symlink_to(project / "exported/clip")
    assert "data/weights/linked is a link to a folder, and DVC does not look into it; copy the folder" in refused(
        params(**{key: "data/weights/linked"}), project
    )
    assert "linked is a link to a folder" in refused(params(**{key: "data/weights/linked/w.safetensors"}), project)
    (weights / "clip/deep").symlink_to(project / "exported/clip")
    assert "clip/deep is a link to a folder" in refused(params(**{key: "data/weights/clip"}), project)
    (weights / "clip/deep").unlink()
    (weights / "clip/config.json").symlink_to(project.parent / "outside/w.safetensors")
    line = refused(params(**{key: "data/weights/clip"}), project)
    assert line.endswith("data/weights/clip/config.json is a link out of the project, so it is not read; copy the file")


def test_the_root_of_weights_may_be_anywhere_because_it_is_a_dependency(project):
    outside = project.parent / "outside"
    check_all(
        params(**{"model.weights_root": str(outside), TOWERS[1]: f"{outside}/w.safetensors"}), Path("params.yaml")
    )
    (project / "data/big").symlink_to(outside)
    check_all(params(**{"model.weights_root": "data/big", TOWERS[1]: "data/big/w.safetensors"}), Path("params.yaml"))


def named(key: str, folder: str) -> dict[str, Any]:
    """Return the change that lets stages read a folder by a setting of FOLDERS."""
    return {key: {"plan.teachers": [Path(folder).name], "plan.judged": [0]}.get(key, folder)}


@pytest.mark.parametrize("key", FOLDERS)
def test_files_that_lead_out_of_a_folder_of_models_or_judgements_are_refused(project, key):
    folder = "data/judgements" if key == "plan.judged" else "data/starts/old"
    check_all(params(**named(key, folder)), project / "params.yaml")
    (project / folder / "away.csv").symlink_to(project.parent / "outside/w.safetensors")
    line = refused(params(**named(key, folder)), project)
    assert (
        line.startswith(f"{project}/params.yaml: {key}") and f"{folder}/away.csv is a link out of the project" in line
    )
    (project / folder / "away.csv").unlink()
    (project / folder / "1").symlink_to(project / "exported")
    assert f"{folder}/1 is a link to a folder" in refused(params(**named(key, folder)), project)


@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_published_teacher_names_files_of_its_own_folder_or_of_the_weights(project, tower):
    pair = project / "data/starts/old/model.yaml"

    def write(name: str) -> dict[str, Any]:
        with pair.open("w", encoding="utf-8") as stream:
            YAML().dump({tower: {"name": name, "weights": "openai"}, "embedding_dim": 8}, stream)
        return params(**{"plan.teachers": ["old"]})

    (pair.parent / "tower").mkdir()
    for name in ("ViT-B-32", "data/weights/clip", "data/starts/old/tower", str(pair.parent / "tower")):
        check_all(write(name), project / "params.yaml")
    for name in ("exported/clip", str(project.parent / "outside"), "../outside"):
        line = refused(write(name), project)
        assert line.startswith(f"{pair}: model.{tower}.name = {name!r}: outside {project}/data/weights")


def test_a_phase_does_not_start_from_a_folder_that_its_stage_does_not_depend_on(project):
    values = params(**{"phases.train": {"init_from": "data/starts/old"}})
    assert refused(values, project) == (
        f"{project}/params.yaml: phases.train.init_from = 'data/starts/old': the stages depend on train.init_from "
        "alone, which is 'data/starts/none'; set that"
    )
    check_all(params(**{"phases.train": {"init_from": "data/starts/none"}}), project / "params.yaml")


def test_vitrine_check_refuses_them_too(project):
    with (project / "params.yaml").open("w", encoding="utf-8") as stream:
        YAML().dump(params(**{"model.text.tokenizer": "../outside"}), stream)
    with pytest.raises(ValueError, match=r"model\.text\.tokenizer = '\.\./outside': outside"):
        check_params(project / "params.yaml")

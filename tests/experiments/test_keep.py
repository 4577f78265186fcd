"""Models saved from a revision, an experiment and the working tree, in a real repository; and what is refused."""

import json
import shutil

import pytest
import torch
from model_settings import make_model_params
from safetensors.torch import load_file, save_file

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.experiments.keep import MODEL_FILES, PREDICTION_FILES, keep, keep_predictions
from pipeline_lib.inference.warm_start import start_folder
from pipeline_lib.models.base_weights import BaseWeights
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import load_model, save_model
from pipeline_lib.towers.kinds import resolve_towers


def text_of(content, fold, name):
    """The text of a file of a model; its card is JSON."""
    text = f"{content} {fold} {name}"
    card = {"description": {}, "fingerprint": text, "run": {}, "checksum": text}
    return json.dumps(card) if name == "model.json" else text


def write_models(root, content, folds=(0, 1)):
    for fold in folds:
        folder = root / paths.TRAIN / str(fold)
        (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
        for name in ("model.safetensors", "model.json", "seen.npy", "trainable.json", "tokenizer/tokenizer.json"):
            (folder / name).write_text(text_of(content, fold, name), encoding="utf-8")
    (root / paths.ENSEMBLE).mkdir(parents=True, exist_ok=True)
    for name in (*PREDICTION_FILES, "rankings.parquet"):
        (root / paths.ENSEMBLE / name).write_text(f"{content} {name}", encoding="utf-8")


@pytest.fixture(scope="module")
def repository(three_states):
    """Models `one` in the first commit, `two` in the experiment `tried`, `three` in the working tree; two folds."""

    def write(root, state):
        (root / ".gitignore").write_text("data/work/*\ndata/starts/*\n", encoding="utf-8")
        (root / "params.yaml").write_text("plan:\n  folds: [0, 1]\n", encoding="utf-8")
        write_models(root, ("one", "two", "three")[state])

    pipeline = "stages:\n  train:\n    matrix:\n      fold: ${plan.folds}\n    cmd: 'true'\n"
    pipeline += f"    outs: ['{paths.TRAIN.as_posix()}/${{item.fold}}']\n"
    pipeline += f"  ensemble:\n    cmd: 'true'\n    outs: ['{paths.ENSEMBLE.as_posix()}']\n"
    root = three_states(pipeline, write)
    shutil.copytree(root / paths.train_of(1), root / paths.train_of(2))  # from an earlier plan
    return root


@pytest.fixture
def project(repository, tmp_path):
    return shutil.copytree(repository, tmp_path / "project")


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def unfinished(project):
    return [path for path in (project / "data/starts").glob("*") if path.name.startswith(".")]


@pytest.mark.parametrize(("revision", "content"), [("first-run", "one"), ("tried", "two"), ("workspace", "three")])
def test_every_folds_model_is_saved_and_nothing_else(revision, content, project):
    folder = keep(revision, "mine", project)
    assert folder.as_posix() == "data/starts/mine"
    files = [name if name != "tokenizer" else "tokenizer/tokenizer.json" for name in MODEL_FILES]
    assert contents(project / folder) == {
        f"{fold}/{name}": text_of(content, fold, name) for fold in (0, 1) for name in files
    }
    assert [start_folder(str(project / folder), fold).name for fold in (0, 1)] == ["0", "1"]
    assert not unfinished(project)


def test_a_name_in_use_is_refused_unless_the_content_is_the_same(project):
    keep("tried", "mine", project)
    before = contents(project / "data/starts/mine")
    keep("tried", "mine", project)
    (project / "data/starts/none").mkdir()
    for taken in ("mine", "none"):
        with pytest.raises(ValueError, match=f"data/starts/{taken} exists already with other content; choose an"):
            keep("first-run", taken, project)
    assert contents(project / "data/starts/mine") == before and not unfinished(project)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "../up", "-n", "mine.dvc", "/tmp/x"])
def test_a_name_with_path_characters_is_refused(name, project):
    with pytest.raises(ValueError, match="is no name for a folder under data/starts"):
        keep("first-run", name, project)
    assert not (project / "data/starts").exists()


def test_models_that_no_cache_has_leave_no_folder(project):
    shutil.rmtree(project / ".dvc/cache")
    with pytest.raises(
        ValueError,
        match=r"^first-run: its models cannot be read from DVC's cache or remote \(.*\); run that revision again",
    ) as error:
        keep("first-run", "mine", project)
    assert "\n" not in str(error.value)
    assert not list((project / "data/starts").iterdir())


def test_a_fold_that_the_cache_has_lost_stops_the_others(project):
    """One fold's weights are missing in the cache, so no other fold is saved."""
    cached = (path for path in (project / ".dvc/cache").rglob("*") if path.is_file())
    (lost,) = [path for path in cached if path.read_bytes() == b"one 1 model.safetensors"]
    lost.unlink()
    with pytest.raises(ValueError, match="first-run: its models cannot be read"):
        keep("first-run", "mine", project)
    assert not list((project / "data/starts").iterdir())


def test_unknown_revisions_and_untrained_projects_are_named(project):
    with pytest.raises(ValueError, match="exp-nowhere: no such revision or experiment"):
        keep("exp-nowhere", "mine", project)
    shutil.rmtree(project / paths.train_of(1))
    with pytest.raises(ValueError, match=r"data/work/train/1/model.safetensors: no such file; run `dvc repro`"):
        keep("workspace", "mine", project)
    (project / "params.yaml").write_text("plan:\n  folds: []\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"plan.folds is empty"):
        keep("workspace", "mine", project)
    assert not list((project / "data/starts").iterdir())


def test_predictions_of_several_revisions_are_saved_in_a_folder_each(project):
    folder = keep_predictions(["first-run", "tried", "workspace"], "all", project)
    assert folder.as_posix() == "data/predictions/all"
    expected = {}
    for revision, content in (("first-run", "one"), ("tried", "two"), ("workspace", "three")):
        expected |= {f"{revision}/{name}": f"{content} {name}" for name in PREDICTION_FILES}
        for fold in (0, 1):
            names = ("model.json", "seen.npy")
            expected |= {f"{revision}/models/{fold}/{name}": text_of(content, fold, name) for name in names}
    assert contents(project / folder) == expected


@pytest.mark.parametrize(
    ("revisions", "name", "line"),
    [
        (["first-run", "exp-nowhere"], "all", "exp-nowhere: no such revision or experiment"),
        (["first-run", "HEAD~0"], "all", "'HEAD~0' is no name for a folder; give it a plain one: git tag NAME HEAD~0"),
        (["first-run"], "../all", "is no name for a folder under data/predictions"),
    ],
)
def test_predictions_of_all_revisions_are_saved_or_none(revisions, name, line, project):
    with pytest.raises(ValueError, match=line):
        keep_predictions(revisions, name, project)
    assert not list((project / "data").rglob("all*"))


def test_predictions_that_no_cache_has_leave_no_folder(project):
    shutil.rmtree(project / ".dvc/cache")
    with pytest.raises(
        ValueError,
        match=r"^tried: its predictions cannot be read from DVC's cache or remote \(.*\); run that revision again",
    ):
        keep_predictions(["tried"], "all", project)
    assert not list((project / "data/predictions").iterdir())


@pytest.fixture(scope="module")
def on_a_base(three_states, tiny_image_folder, tiny_text_folder):
    """Models of frozen towers, whose weights under data/weights are in git and differ from state to state."""

    def write(root, state):
        (root / ".gitignore").write_text("data/work/*\ndata/starts/*\n", encoding="utf-8")
        (root / "params.yaml").write_text("plan:\n  folds: [0]\n", encoding="utf-8")
        weights = root / "data/weights"
        shutil.copytree(tiny_image_folder, weights / "image", dirs_exist_ok=True)
        shutil.copytree(tiny_text_folder, weights / "text", dirs_exist_ok=True)
        published = load_file(weights / "image/model.safetensors")
        save_file({name: value + state for name, value in published.items()}, weights / "image/model.safetensors")
        params = make_model_params({"name": str(weights / "image")}, {"name": str(weights / "text")})
        base = BaseWeights(params, resolve_towers(params))
        torch.manual_seed(state)
        write_models(root, state, (0,))
        save_model(root / paths.train_of(0), built(base), {}, base)
        card = read_object(root / paths.train_of(0) / "model.json")
        for tower, entry in card["base"].items():
            # A project names them so.
            entry["params"]["name"] = f"data/weights/{tower}"
            entry["file"] = entry["file"] and f"data/weights/{tower}/model.safetensors"
        write_json(root / paths.train_of(0) / "model.json", card)

    def built(base):
        return build_model(describe(base.params, base.sources, True, []), base.sources)

    pipeline = f"stages:\n  train:\n    cmd: 'true'\n    outs: ['{paths.train_of(0).as_posix()}']\n"
    return three_states(pipeline, write)


@pytest.mark.parametrize(("revision", "state"), [("workspace", 2), ("tried", 1), ("first-run", 0)])
def test_a_saved_model_needs_no_base(revision, state, on_a_base, tiny_image_folder, tmp_path):
    """Each revision has weights of its own, which are not those of the working tree."""
    project = shutil.copytree(on_a_base, tmp_path / "project")
    folder = project / keep(revision, "mine", project) / "0"
    shutil.rmtree(project / "data/weights")
    assert "base" not in read_object(folder / "model.json")
    stem = load_model(folder).model.get_parameter("image.trunk.stem.0.weight")
    assert torch.equal(stem, load_file(tiny_image_folder / "model.safetensors")["stem.0.weight"] + state)


def test_a_base_that_has_changed_since_stops_keep(on_a_base, tmp_path):
    project = shutil.copytree(on_a_base, tmp_path / "project")
    file = project / "data/weights/image/model.safetensors"
    save_file({name: value + 9 for name, value in load_file(file).items()}, file)
    with pytest.raises(ValueError, match="its image tower shares with .* had the hash .*, now it is") as error:
        keep("workspace", "mine", project)
    assert "\n" not in str(error.value) and not list((project / "data/starts").iterdir())

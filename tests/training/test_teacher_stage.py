"""Train, keep, extract, distil: the scripts of the stages, as DVC runs them; and the plans that `check` refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tiny_project import PARAMS, copy_towers, make_settings, write_project

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.execution.forkserver import SWITCH
from pipeline_lib.experiments.keep import keep
from pipeline_lib.params.all_sections import check_params
from pipeline_lib.params.section import load_params


@pytest.fixture
def stage(tmp_path, tiny_image_folder, tiny_text_folder, fork_server):
    """A function that runs a stage in a temporary project, with plan.teachers and weights of losses."""
    write_project(tmp_path / "data/work")
    for folder in ("data/work/features", "data/weights", "data/starts/none"):
        (tmp_path / folder).mkdir(parents=True)
    towers = copy_towers(tmp_path, tiny_image_folder, tiny_text_folder)

    def run(*words, teachers=(), losses_on=None):
        settings = make_settings(*towers, losses_on=losses_on, workers=1, epochs=1, init_from="data/starts/none")
        params = load_params(PARAMS)
        for name in ("model", "losses", "train", "runtime"):
            params[name] = getattr(settings, name).model_dump()
        params["plan"] |= {"folds": [0], "teachers": list(teachers)}
        params["features"]["teacher_words"] = True
        with (tmp_path / "params.yaml").open("w", encoding="utf-8") as stream:
            YAML().dump(params, stream)
        environment = {name: value for name, value in os.environ.items() if name not in ("DVC_ROOT", "VITRINE_LAUNCH")}
        environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), SWITCH: str(fork_server)}
        command = [sys.executable, "-m", f"stages.{words[0]}", *words[1:]]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_a_saved_experiment_is_the_teacher_of_another(stage, tmp_path):
    names = ("contrastive_distillation", "class_distillation", "coarse_distillation")
    on = {name: {"weight": 1.0} for name in names}
    on["coarse_distillation"]["score"] = {"old": "x_clip"}
    assert stage("train", "--fold", "0").returncode == 0
    assert keep("workspace", "old", tmp_path) == Path("data/starts/old")
    extracted = stage("teacher", "--name", "old", teachers=["old"])
    assert extracted.returncode == 0, extracted.stderr
    assert extracted.stdout.startswith("features of old: 42 photos and ")
    card = read_object(tmp_path / "data/work/features/old/0/teacher.json")
    saved = read_object(tmp_path / "data/starts/old/0/model.json")
    assert card["encoder"] == saved["fingerprint"] and card["trained"]
    assert read_object(tmp_path / "data/work/features/old/0/words/header.json")["encoder"] == saved["fingerprint"]
    done = stage("train", "--fold", "0", teachers=["old"], losses_on=on)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    run = read_object(tmp_path / "data/work/train/0/model.json")["run"]
    assert run["losses"] == {"info_nce": 1.0, "cross_entropy": 1.0, **dict.fromkeys(on, 1.0)}


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        (["new"], "plan.teachers has 'new', but there is no folder data/starts/new. Create it: `vitrine"),
        (["a/b"], "plan.teachers.0 = 'a/b': string should match pattern"),
        (["trunk"], "plan.teachers has 'trunk', which is the name of the towers before training; rename"),
        (["old", "old"], "plan.teachers has the same item twice"),
    ],
)
def test_check_refuses_a_plan_with_a_missing_or_repeated_teacher(tmp_path, teachers, message):
    params = load_params(PARAMS)
    params["plan"]["teachers"] = teachers
    (tmp_path / "data/starts/old").mkdir(parents=True)
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as stream:
        YAML().dump(params, stream)
    with pytest.raises(ValueError, match=message) as error:
        check_params(tmp_path / "params.yaml")
    assert "\n" not in str(error.value)

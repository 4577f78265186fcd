"""Two phases under DVC: each is one stage per fold, and the params of a phase affect no earlier phase."""

import json

import pytest
from machine_names import files_in, naming
from safetensors.torch import load_file

from pipeline_lib.models.saved import read_state

PHASES = ("plan.phases=[{name:head,after:none}]", "plan.last=head", "++phases.head={unfreeze_layers:0,head_lr:0.01}")
FIRST, LAST = ["phase@step0-0", "phase@step0-1"], ["train@0", "train@1"]


@pytest.fixture(scope="module")
def project(built_project, fork_server, tmp_path_factory):
    project = built_project.copy(tmp_path_factory.mktemp("phases") / "project", fork_server)
    project.set_params(*PHASES, "++phases.train={tower_lr:0.00001}")
    project.first_stages = project.run_stages(project.run("dvc", "repro", "train").stdout)
    project.commit("two phases")
    return project


def card(project, folder):
    return json.loads((project.folder / "data/work" / folder / "model.json").read_text(encoding="utf-8"))


def test_each_phase_is_one_stage_per_fold_and_starts_from_the_previous_one(project):
    assert sorted(project.first_stages) == sorted([*FIRST, *LAST])
    for fold in "01":
        assert project.first_stages.index(f"phase@step0-{fold}") < project.first_stages.index(f"train@{fold}")
    first, last = card(project, "phases/head/0")["run"], card(project, "train/0")["run"]
    assert first["stored_features"] == {"image": "pooled", "text": "pooled"}
    assert "pooled" not in last["stored_features"].values()
    assert [first["train"][key] for key in ("unfreeze_layers", "head_lr", "tower_lr")] == [0, 0.01, 0.0015]
    assert [last["train"][key] for key in ("unfreeze_layers", "head_lr", "tower_lr")] == [1, 0.003, 1e-5]
    assert last["train"]["init_from"] == "data/work/phases/head"
    report = json.loads((project.folder / "data/work/train/1/trainable.json").read_text(encoding="utf-8"))
    assert [row["source"] for row in report["towers"]] == ["data/work/phases/head/1"] * 3
    published = load_file(project.folder / "data/weights/image/model.safetensors")
    head = project.folder / "data/work/phases/head/0"
    towers = read_state(head, root=project.folder)
    assert all(value.equal(towers[f"image.trunk.{name}"]) for name, value in published.items() if "head" not in name)
    assert not naming(files_in(project.folder / "data/work/phases"), str(project.folder))
    # A phase that trains heads only saves heads only.
    assert not [name for name in load_file(head / "model.safetensors") if name.startswith(("image.", "text."))]


def test_the_learning_rate_of_a_phase_does_not_rerun_the_phases_before_it(project):
    """What reruns is known without running it, except that the model of the first phase will change."""
    project.set_params("phases.train.tower_lr=0.00002")
    printed = project.run("dvc", "repro", "--dry", "train").stdout
    assert sorted(project.run_stages(printed)) == LAST
    assert all(f"Stage '{stage}' didn't change, skipping" in printed for stage in FIRST)
    project.run("git", "checkout", "-q", ".")
    project.set_params("phases.head.head_lr=0.02")
    assert sorted(project.run_stages(project.run("dvc", "repro", "--dry", "train").stdout)) == FIRST
    assert project.run_stages(project.run("dvc", "repro", "train@1").stdout) == ["phase@step0-1", "train@1"]
    project.run("git", "checkout", "-q", ".")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("plan.last=none",), "plan.last = 'none', but the last phase of plan.phases is 'head'; write head"),
        (("phases.head.head_lrs=1",), "phases.head.head_lrs is not a setting; did you mean 'head_lr'?"),
        (("phases.head.epochs=-1",), "phases.head.epochs = -1: input should be greater than or equal to 0"),
        (("plan.phases=[]", "plan.last=none"), "phases.head is not a phase of plan.phases; add it there or remove it"),
        (("plan.phases=[{name:head,after:stem}]",), "'head' comes after 'stem', but the one before it is 'none'"),
        (("~phases.head",), "phases.head is missing; write the settings of train that"),
        (("plan.phases=[{name:train,after:none}]", "plan.last=train"), "each needs a unique name"),
        (("model.text_vocabulary=cut",), "plan.phases = ['head'], but model.text_vocabulary = cut: no phase can cut"),
    ],
)
def test_inconsistent_phases_are_one_line(project, changes, message):
    project.set_params(*[f"++{one}" if "head_lrs" in one or "head.epochs" in one else one for one in changes])
    done = project.run_vitrine("check", check=False)
    project.run("git", "checkout", "-q", ".")
    assert done.returncode == 1 and message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_phase_takes_the_heads_of_the_one_before_whatever_the_first_start_gives(project):
    """train.init_heads is about train.init_from; a phase that drops the heads of the one before it says so itself."""
    unmoved = (f"++phases.train.{key}=0" for key in ("tower_lr", "head_lr", "unfreeze_layers"))
    project.set_params("train.init_heads=false", *unmoved)
    project.run("dvc", "repro", "train@0")
    before, after = (read_state(project.folder / "data/work" / name, ()) for name in ("phases/head/0", "train/0"))
    heads = [name for name in before if name.startswith("head.")]
    assert heads and all(before[name].equal(after[name]) for name in heads)
    project.set_params("++phases.train.init_heads=false")
    project.run("dvc", "repro", "train@0")
    after = read_state(project.folder / "data/work/train/0", ())
    assert not any(before[name].equal(after[name]) for name in heads if name.endswith("projection.weight"))

"""What `vitrine plan` finds in a real DVC project, before and after changes, is what `dvc repro` then does."""

import json
from pathlib import Path

import pytest
from quick_dvc import run_dvc

from pipeline_lib.experiments.next_run.status import NO_ENTRY, read_statuses

# DVC reads a deprecated value of pygtrie while it builds the graph.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

PIPELINE = """
stages:
  first:
    cmd: cp data.txt first.txt
    deps: [data.txt]
    params: [width, deep, deep.flag]
    outs: [first.txt]
  part:
    matrix:
      fold: ${folds}
    cmd: cat first.txt > part-${item.fold}.txt
    deps: [first.txt]
    params: [rate]
    outs: ["part-${item.fold}.txt"]
"""
PARAMS = "width: 3  # a comment\nrate: 1e-4\nfolds:\n- 0\ndeep:\n  flag: true\n  names: [a]\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    for name, text in (("dvc.yaml", PIPELINE), ("params.yaml", PARAMS), ("data.txt", "data")):
        (root / name).write_text(text, encoding="utf-8")
    dvc(root, "init", "--no-scm", "--quiet")
    dvc(root, "repro", "--quiet")
    return root


@pytest.fixture
def toy(built, monkeypatch) -> Path:
    monkeypatch.chdir(built)
    before = {name: (built / name).read_bytes() for name in ("params.yaml", "data.txt", "dvc.lock", "dvc.yaml")}
    yield built
    for name, content in before.items():
        (built / name).write_bytes(content)


def dvc(folder: Path, *arguments: str) -> str:
    return run_dvc(folder, *arguments).stdout


def found(*changes: str) -> dict[str, list]:
    statuses, _ = read_statuses([], changes)
    return {
        one.name: [(why.what, why.old, why.new) if why.is_setting else why.what for why in one.reasons]
        for one in statuses
    }


def test_nothing_has_a_reason_after_a_run(toy):
    assert found() == {"first": [], "part@0": []}
    statuses, params = read_statuses([], [])
    assert [one.size for one in statuses] == [4, 4] and statuses[1].upstream == ("first",) and params["width"] == 3
    assert statuses[0].command == "cp data.txt first.txt"


@pytest.mark.parametrize(
    ("changes", "first", "part"),
    [
        (["width=5"], [("width", 3, 5)], []),
        (["rate=2e-4"], [], [("rate", 1e-4, 2e-4)]),
        (["deep.flag=false", "deep.names=[a,b]"], [("deep.flag", True, False), ("deep.names", ["a"], ["a", "b"])], []),
        (["+deep.more=1"], [("deep.more", "(absent)", 1)], []),
        (["width=3"], [], []),
    ],
)
def test_a_change_is_asked_about_and_not_made(toy, changes, first, part):
    files = {path: path.read_bytes() for path in toy.iterdir() if path.is_file()}
    assert found(*changes) == {"first": first, "part@0": part}
    assert {path: path.read_bytes() for path in toy.iterdir() if path.is_file()} == files


def test_a_further_fold_is_a_stage_without_an_entry(toy):
    assert found("folds=[0,1]") == {"first": [], "part@0": [], "part@1": [NO_ENTRY]}


def test_edited_files_commands_and_outs_are_named(toy):
    (toy / "data.txt").write_text("other", encoding="utf-8")
    (toy / "dvc.yaml").write_text(PIPELINE.replace("cmd: cat first", "cmd: cat  first"), encoding="utf-8")
    (toy / "part-0.txt").unlink()
    assert found() == {
        "first": ["data.txt changed"],
        "part@0": ["its command in dvc.yaml changed", "part-0.txt is missing"],
    }
    (toy / "data.txt").write_text("data", encoding="utf-8")
    dvc(toy, "checkout", "--quiet")


def test_what_is_predicted_runs_and_what_was_there_is_restored(toy):
    """Width 5 has not run; after it has, width 3 is in the run cache and 7 is not."""
    statuses, _ = read_statuses(["first"], ["width=5"])
    assert [(one.name, one.restorable) for one in statuses] == [("first", False)]
    (toy / "params.yaml").write_text(PARAMS.replace("width: 3", "width: 5"), encoding="utf-8")
    assert "Running stage 'first'" in dvc(toy, "repro")
    assert [read_statuses(["first"], [f"width={width}"])[0][0].restorable for width in (3, 7)] == [True, False]
    (toy / "params.yaml").write_text(PARAMS, encoding="utf-8")
    assert "is cached - skipping run" in dvc(toy, "repro")


@pytest.mark.parametrize(
    ("changes", "targets", "text"),
    [(["sise=5"], [], "-S sise=5: Could not override .sise."), (["width"], [], "-S width"), ([], ["third"], "third")],
)
def test_what_dvc_refuses_is_one_line(toy, changes, targets, text):
    with pytest.raises(ValueError, match=text) as caught:
        read_statuses(targets, changes)
    assert "\n" not in str(caught.value)


def test_an_edit_of_code_names_the_stages_that_it_reruns(toy, monkeypatch):
    """The stage `code` is not run: its lists are predicted, and stages whose list stays are not named."""
    pipeline = "stages:\n  code:\n    cmd: 'true'\n    deps: [pipeline_lib, stages]\n    outs: [data/work/code]\n"
    for name in ("folds", "shards"):
        out = f"    outs: [{name}.txt]\n"
        pipeline += f"  {name}:\n    cmd: touch {name}.txt\n    deps: [data/work/code/{name}.txt]\n{out}"
    for path in ("pipeline_lib/of_folds.py", "pipeline_lib/of_both.py", "stages/folds.py", "stages/shards.py"):
        Path(path).parent.mkdir(exist_ok=True)
        imports = [name for name in ("of_folds", "of_both") if "stages" in path and ("folds" in path or "both" in name)]
        Path(path).write_text("".join(f"import pipeline_lib.{name}\n" for name in imports), encoding="utf-8")
    from pipeline_lib.execution.stage_code import write_code

    Path("data/work/code").mkdir(parents=True)
    for name in ("folds", "shards"):
        write_code(f"stages.{name}", Path("data/work/code"))
    (toy / "dvc.yaml").write_text(pipeline, encoding="utf-8")
    (toy / "dvc.lock").unlink()
    dvc(toy, "commit", "--force", "--quiet", "code")
    dvc(toy, "repro", "--quiet")
    assert found() == {"code": [], "folds": [], "shards": []}
    Path("pipeline_lib/of_folds.py").write_text("x = 1\n", encoding="utf-8")
    assert found() == {"code": ["pipeline_lib changed"], "folds": ["code: pipeline_lib/of_folds.py"], "shards": []}


def test_the_command_prints_rows_and_json(toy, monkeypatch):
    from typer.testing import CliRunner

    from pipeline_lib.cli.main import app
    from pipeline_lib.params import all_sections

    wrong = {7}

    def check(params, path):
        if params["width"] in wrong:
            raise ValueError(f"{path}: width = {params['width']}; write another number")

    monkeypatch.setattr(all_sections, "check_project", check)
    log = toy / "logs/durations.jsonl"
    log.parent.mkdir(exist_ok=True)
    log.write_text(json.dumps({"command": "cp data.txt first.txt", "seconds": 75, "products": None, "settings": {}}))
    result = CliRunner().invoke(app, ["plan", "-S", "width=6", "-S", "folds=[0,1]"], catch_exceptions=False)
    assert [line.split("\t") for line in result.stdout.splitlines()] == [
        ["first", "runs", "width: 3 -> 6", "", "4", "75.0", "1 run"],
        ["part@0", "follows", "because first runs", "", "4", "", ""],
        ["part@1", "runs", NO_ENTRY, "", "4", "", ""],
    ]
    assert result.stderr == (
        "2 of 3 stages run, 1 follow if outs before them change, 0 are restored; about 1 min 15 s, up to 1 min 15 s "
        "one after the other, as they took before (2 stages without an earlier run)\n"
    )
    document = json.loads(CliRunner().invoke(app, ["plan", "--json", "-S", "width=6"]).stdout)
    assert document["stages"][0]["reasons"] == [{"setting": "width", "old": 3, "new": 6}]
    assert (document["seconds"], document["without_estimate"], document["unchanged"]) == (75, 1, 0)
    assert document["fault"] is None
    faulty = CliRunner().invoke(app, ["plan", "-S", "width=7"])
    assert faulty.stderr.splitlines()[-1] == "the run would stop: params.yaml: width = 7; write another number"
    nothing = CliRunner().invoke(app, ["plan"])
    assert nothing.stderr == "nothing to run: all 2 stages are up to date\n"
    wrong.add(3)
    later = CliRunner().invoke(app, ["plan"]).stderr.splitlines()[-1]
    assert later == "a run that does something would stop: params.yaml: width = 3; write another number"

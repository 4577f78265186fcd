"""dvc.yaml is complete: each stage depends on the list of its code, and its params are what its script reads."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Collection
from contextlib import nullcontext
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from scmrepo.git import Git

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.schemas import CONFUSION_SCHEMA, CURVE_SCHEMA
from pipeline_lib.cli.settings_tree import json_schema, settings_tree
from pipeline_lib.execution.import_closure import import_closure
from pipeline_lib.execution.stage import Stage
from pipeline_lib.execution.stage_code import EXEMPT, NOT_EXEMPT, list_code
from pipeline_lib.params.all_sections import SECTIONS
from pipeline_lib.params.section import load_params, pick
from stages import train as train_script

ROOT = Path(__file__).parents[2]
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES, PLOTS = PIPELINE["stages"], PIPELINE["plots"]
SECTION_OF = {kind.__name__: kind.section for kind in SECTIONS}
SCRIPTS = {
    name: re.fullmatch(r"python -m (stages\.\w+)( --\w+ \$\{item(\.\w+)+\})*", stage["cmd"])[1]
    for name, stage in STAGES.items()
}
# Stages that run one script with different arguments.
SHARING = {"phase": "stages.train", "train": "stages.train"}


def imports_of(module: str) -> set[Path]:
    return {path.relative_to(ROOT) for path in import_closure(module, ROOT) if path.name != "__init__.py"}


@pytest.mark.parametrize("name", [name for name in STAGES if name != "code"])
def test_a_stage_depends_on_the_list_of_its_own_code_alone(name):
    code = [
        dep for dep in STAGES[name]["deps"] if dep.startswith((f"{paths.CODE.as_posix()}", "pipeline_lib", "stages"))
    ]
    assert code == [paths.code_of(SCRIPTS[name]).as_posix()]


@pytest.mark.parametrize("name", STAGES)
def test_the_list_has_every_import_that_is_not_exempt_and_nothing_else(name):
    """Independent of what writes the lists: an import is listed or exempt, and only templates are listed beside."""
    listed = {Path(path) for path in list_code(SCRIPTS[name], ROOT)}
    imported = imports_of(SCRIPTS[name])
    exempt = {path for path in imported - listed if {str(path), *map(str, path.parents)} & EXEMPT.keys()}
    assert imported - listed == exempt
    assert {path for path in listed if path.suffix == ".py"} <= imported
    beside = {path for path in listed if path.suffix != ".py"}
    assert {path.parent for path in beside} <= {path.parent for path in imported}


def test_templates_and_style_sheets_are_in_the_list_of_the_report():
    listed = set(list_code("stages.report", ROOT))
    assert {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "pipeline_lib/report").glob("**/*.[cj][s2]*")
    } <= listed
    assert "pipeline_lib/report/page.html.j2" in listed and "pipeline_lib/report/page.css" in listed


def test_exemptions_exist_and_give_a_reason():
    for path, reason in {**EXEMPT, **NOT_EXEMPT}.items():
        assert (ROOT / path).exists(), f"{path}: moved or removed"
        assert len(reason.split()) > 4
    used = {path.as_posix() for module in set(SCRIPTS.values()) for path in imports_of(module)}
    assert {path for path in EXEMPT if path.endswith(".py")} | NOT_EXEMPT.keys() <= used


def test_it_is_read_in_a_minute():
    lines = (ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 250 and max(map(len, lines)) <= 120


def asked_params(path: Path) -> set[str]:
    """Sections and keys that a stage script asks its Stage for."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "section":
                found.add(SECTION_OF[node.args[0].id])
            elif node.func.attr == "value":
                found.add(literal(node.args[0]))
    return found


def literal(node: ast.expr) -> str:
    """A key as it is written, what an f-string puts in it as {}."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value


def script_of(name: str) -> Path:
    return ROOT / (SCRIPTS[name].replace(".", "/") + ".py")


def keys_without_run_cache(declared: Collection[str]) -> set[str]:
    """Keys inside declared sections that DVC's run cache ignores: tests/experiments/next_run/test_run_cache.py."""

    def walk(value, key):
        if isinstance(value, dict):
            for name, inner in value.items():
                if name in ("size", "nfiles"):
                    yield f"{key}.{name}"
                yield from walk(inner, f"{key}.{name}")

    params = load_params(ROOT / "params.yaml")
    return {found for key in declared if not key.startswith("phases.") for found in walk(pick(params, key), key)}


@pytest.mark.parametrize("name", STAGES)
def test_a_key_that_the_run_cache_ignores_in_its_section_is_a_param_of_its_own(name):
    declared = STAGES[name].get("params", [])
    assert keys_without_run_cache(declared) <= set(declared)


@pytest.mark.parametrize("name", [name for name in STAGES if name not in SHARING])
def test_params_are_exactly_what_the_code_asks_for(name):
    declared = [re.sub(r"\$\{item[^}]*\}", "{}", key) for key in STAGES[name].get("params", [])]
    asked = asked_params(script_of(name))
    assert sorted(declared) == sorted(asked | keys_without_run_cache(asked))


def filled(text: str) -> str:
    """Text of dvc.yaml with the item of one member of a matrix: fold 1, of phase `head`, which comes after `none`."""
    item = {"fold": "1", "step.name": "head", "step.after": "none"}
    return re.sub(r"\$\{item\.([\w.]+)\}", lambda match: item[match[1]], text)


class RecordingStage(Stage):
    """A stage that remembers the sections and keys it was asked for."""

    def __init__(self, module: str) -> None:
        super().__init__(module)
        self.read: set[str] = set()

    def section(self, kind):
        self.read.add(kind.section)
        return super().section(kind)

    def value(self, key, kind):
        self.read.add(key)
        return super().value(key, kind)

    def fingerprint(self, *inputs, **identity):
        return "fingerprint"


def params_read(name: str, folder: Path, monkeypatch) -> set[str]:
    """Run a stage's own command up to the training, and return the params that it read."""
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["phases"]["head"] = {"epochs": 1}
    with (folder / "params.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)
    (folder / params["train"]["init_from"]).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("VITRINE_LAUNCH", raising=False)
    run = RecordingStage(SCRIPTS[name])
    monkeypatch.setattr(train_script, "stage", lambda module: nullcontext(run))
    monkeypatch.setattr("pipeline_lib.training.fold.train_fold", lambda *_: None)
    monkeypatch.setattr(sys, "argv", shlex.split(filled(STAGES[name]["cmd"]))[2:])
    train_script.main()
    return run.read


def test_stages_that_share_a_script_declare_exactly_what_each_command_reads(tmp_path, monkeypatch):
    reads = {name: params_read(name, tmp_path, monkeypatch) for name in SHARING}
    for name, read in reads.items():
        assert read | keys_without_run_cache(read) == {filled(key) for key in STAGES[name]["params"]}, name
    # Every key in the script is read by one of the commands, so the lists above leave none out.
    phases = {"phases.head": "phases.{}", "phases.train": "phases.{}"}
    assert asked_params(script_of("train")) == {phases.get(key, key) for read in reads.values() for key in read}


def tracking(key: str) -> set[str]:
    """The stages that a change of one setting reruns by themselves."""
    return {
        name
        for name, stage in STAGES.items()
        if any(f"{key}.".startswith(f"{one}.") for one in stage.get("params", []))
    }


@pytest.mark.parametrize(
    ("seed", "stages"),
    [
        ("split.seed", {"folds"}),
        ("features.trunk.view_seed", {"features"}),
        ("train.seed", {"phase", "train"}),
        ("composed.seed", {"compose"}),
        ("evaluate.seed", {"baselines", "evaluate"}),
        ("report.seed", {"report"}),
    ],
)
def test_a_seed_reruns_the_stages_that_draw_with_it_alone(seed, stages):
    assert tracking(seed) == stages


def test_every_seed_is_in_a_section():
    keys = {setting.key for group in settings_tree(json_schema()).groups() for setting in group.settings()}
    assert {key for key in keys if key.endswith("seed")} == {
        "split.seed", "features.trunk.view_seed", "train.seed", "composed.seed", "evaluate.seed", "report.seed",
    }  # fmt: skip


def test_runtime_is_never_tracked():
    assert not [name for name, stage in STAGES.items() if "runtime" in stage.get("params", [])]


def test_every_stage_script_is_a_stage():
    scripts = {f"stages.{path.stem}" for path in ROOT.glob("stages/*.py")} - {"stages.__init__"}
    assert scripts == set(SCRIPTS.values())
    assert {name: f"stages.{name}" for name in STAGES} | SHARING == SCRIPTS
    shared = {module for module, count in Counter(SCRIPTS.values()).items() if count > 1}
    assert shared == set(SHARING.values())


@pytest.mark.parametrize("name", STAGES)
def test_cmd_holds_item_values_alone(name):
    inside = re.findall(r"\$\{([^}]*)\}", STAGES[name]["cmd"])
    assert all(value.startswith("item.") for value in inside)


def outs(stage) -> list[str]:
    listed = [*stage.get("outs", []), *stage.get("metrics", [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in listed]


def test_outs_are_where_paths_says():
    made = {out.split("/${")[0] for stage in STAGES.values() for out in outs(stage)}
    wanted = (
        paths.CODE, paths.FRAMES, paths.CATALOGUE, paths.FOLDS, paths.SHARDS, paths.FEATURES, paths.VIEWS, paths.TRAIN,
        paths.EMBED, paths.BASELINES, paths.ENSEMBLE, paths.EVALUATION, paths.METRICS, paths.INTERVALS, paths.PAGE,
        paths.FIGURES, paths.PHASES, paths.PHASES / paths.NO_PHASE, paths.COMPOSED, paths.GALLERY,
        paths.JUDGED,
    )  # fmt: skip
    assert made == {path.as_posix() for path in wanted} | {(paths.INDEX / "${item.kind}-").as_posix().split("/${")[0]}


def test_optional_branches_keep_their_folder():
    """A dep on a folder that no stage makes is an error in DVC, so an emptied plan list would break the DAG."""
    for folder in (paths.FRAMES, paths.FEATURES, paths.INDEX, paths.COMPOSED, paths.JUDGED, paths.JUDGEMENTS):
        assert (ROOT / folder / ".gitkeep").is_file()
    assert ".gitkeep" in (ROOT / ".dvcignore").read_text(encoding="utf-8")


def test_dvc_looks_into_the_folders_that_users_add_to():
    """DVC asks whether a folder is ignored with a slash behind it; one that is, is not searched for .dvc files."""
    repository = Git(str(ROOT))
    for name in ("raw", "weights", "starts", "predictions", "splits", "judgements"):
        folder = f"{ROOT}/data/{name}/"
        assert not repository.is_ignored(folder) and not repository.is_ignored(f"{folder}mine.dvc"), name
        assert repository.is_ignored(f"{folder}mine") and repository.is_ignored(f"{folder}mine/"), name
        assert not repository.is_ignored(f"{folder}.gitkeep") or name in ("starts", "predictions", "splits")
    for folder in (paths.NO_START, paths.NO_PREDICTIONS, paths.NO_SPLIT):
        assert not repository.is_ignored(f"{ROOT}/{folder.as_posix()}/.gitkeep")


# Columns of history.csv; tests/pipeline/test_plain_commands.py compares them with a real run.
HISTORY = ("epoch", "total", "val_loss", "MeanRecall")


def sources(plot) -> dict[str, list[str]]:
    """The files of a plot with their columns, x among them."""
    _, definition = next(iter(plot.items()))
    listed = {file: [y] if isinstance(y, str) else y for file, y in definition["y"].items()}
    return {file: [definition["x"], *columns] for file, columns in listed.items()}


def test_plots_show_outs_of_the_stages():
    files = [file for plot in PLOTS for file in sources(plot)]
    folds = load_params(ROOT / "params.yaml")["plan"]["folds"]
    histories = [(paths.train_of(fold) / "history.csv").as_posix() for fold in folds]
    tables = [(paths.EVALUATION / name).as_posix() for name in ("recall_curve.csv", "confusion.csv")]
    assert files == [*histories, *histories, *tables]


def test_dvc_draws_every_plot(tmp_path):
    """`dvc plots show` on tables of two rows each: the templates are found and every plot has points."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    extra = {"recall_curve.csv": CURVE_SCHEMA, "confusion.csv": CONFUSION_SCHEMA}
    for file, columns in [pair for plot in PLOTS for pair in sources(plot).items()]:
        header = list(extra.get(Path(file).name, HISTORY))
        assert set(columns) <= set(header)
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        row = ",".join("1" for _ in header)
        (tmp_path / file).write_text(f"{','.join(header)}\n{row}\n{row}\n", encoding="utf-8")
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "-q", "--no-scm", "-f"], cwd=tmp_path, check=True)
    shutil.copytree(ROOT / ".dvc/plots", tmp_path / ".dvc/plots", dirs_exist_ok=True)
    done = subprocess.run([*dvc, "plots", "show", "--json"], cwd=tmp_path, check=True, capture_output=True, text=True)
    shown = json.loads(done.stdout)
    assert "errors" not in shown
    assert [*shown["data"]] == [next(iter(plot)) for plot in PLOTS]
    for plot in PLOTS:
        [drawn] = shown["data"][next(iter(plot))]
        assert len(drawn["content"]["data"]["values"]) == 2 * sum(len(one) - 1 for one in sources(plot).values())
        assert "<DVC_METRIC" not in json.dumps(drawn["content"])

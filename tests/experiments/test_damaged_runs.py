"""Files of runs that are compared, listed or quoted: damaged in any way, each is one line with its name."""

import json

import pytest
from compared_runs import make_run, write_run
from damages import GROSS, refused_damages

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.path_guard import link_targets
from pipeline_lib.artifacts.schemas import COMPOSED_BEST_SCHEMA
from pipeline_lib.cli.headline import headline
from pipeline_lib.execution.stage_code import read_list
from pipeline_lib.experiments.compare.runs import COMPOSED_BEST, read_run
from pipeline_lib.experiments.listing.rows import _workspace
from pipeline_lib.experiments.recipes import seeds
from pipeline_lib.experiments.recipes.schema import read_yaml
from pipeline_lib.experiments.repro.memory import StageMemory

# What is no YAML, or no mapping.
YAML_DAMAGES = GROSS | {
    "unbalanced": lambda data: data + b"a: [",
    "a list": lambda data: b"- a\n",
    "not UTF-8": lambda data: data + b"# \xff\n",
    "nested": lambda data: b"[" * 20_000,
    "a tab": lambda data: b"a:\n\t- b\n",
}
FIGURES = {
    "R@1": 0.5, "R@5": 0.75, "R@10": 0.875, "MeanRecall": 0.7, "median_rank": 1.5, "mean_rank": 2, "num_queries": 8,
    "num_gallery": 9, "chance": {"R@1": 0.1}, "slices": {"zh": {"R@1": 0.5, "num_queries": 8, "num_gallery": 9}},
}  # fmt: skip
METRICS = {
    "test": {
        "retrieval": {"text_to_image": FIGURES, "image_to_text": FIGURES, "sum": 4.5, "total_mR": 0.7},
        "classification": {"top1": 0.9, "top3": 1.0, "macro_f1": 0.5, "ece": 0.1, "chance": {"top1": 0.5}},
    },
    "composed": {"sum": {"test": {"R@1": 0.5, "num_queries": 8, "num_gallery": 9, "chance": {"R@1": 0.1}}}},
    "judged": {"0": {"nDCG@10": 0.5, "preference": 0.5, "num_queries": 3, "chance": {"nDCG@10": 0.25}}},
    "seen": {"test": {"trained_on": 3, "products": 9}},
    "data": {"products": 9, "columns": {"id": "id"}, "groups": {"same_groups": 1}},
}
INTERVALS = {
    "test": {"retrieval": {"text_to_image": {"R@1": [0.4, 0.6]}}, "classification": {"top1": [0.8, 1.0]}},
    "composed": {"sum": {"test": {"R@1": [0.4, 0.6]}}},
    "judged": {"0": {"nDCG@10": [0.4, 0.6]}},
}
WRONG = [None, True, 3, 1.5, "x", [], [None], [1, "2"], {}, {"a": []}, {"text_to_image": 3}]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A run with a composed model, its figures, and what `vitrine` keeps for itself; the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    run = make_run([1, 2, 3, 4], right=[1, 0, 1, 1])
    params = run.params | {"plan": {"folds": [0, 1], "composed": ["sum"]}}
    write_run(tmp_path, type(run)(**{**run.__dict__, "params": params}))
    best = run.rankings.head(3).select(*COMPOSED_BEST_SCHEMA)
    best.write_parquet(tmp_path / COMPOSED_BEST)
    write_json(paths.METRICS, METRICS)
    write_json(paths.INTERVALS, INTERVALS)
    return tmp_path


def compared(project):
    return lambda: read_run("workspace", project).rankings


def test_a_compared_run(project):
    files = [path for path in project.rglob("*") if path.suffix in (".parquet", ".json") and "reports" not in str(path)]
    refused, accepted = refused_damages(files, compared(project))
    assert {file for file, _ in refused} == {path.name for path in files}
    assert not [one for one in accepted if one[1] in GROSS]


def test_the_params_of_a_compared_and_a_listed_run(project):
    for read in (compared(project), lambda: _workspace({}, "abc")):
        refused, accepted = refused_damages([project / "params.yaml"], read, YAML_DAMAGES)
        assert len(refused) >= len(YAML_DAMAGES) - 2, accepted  # cut to half may be a mapping, and empty is no file


@pytest.mark.parametrize("section", ["train", "plan", "evaluate"])
@pytest.mark.parametrize("value", ["null", "3", "[1]", "text"])
def test_a_compared_run_has_the_sections_that_are_compared(project, section, value):
    (project / "params.yaml").write_text(
        "\n".join(f"{name}: {value if name == section else '{}'}" for name in ("train", "plan", "evaluate")),
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match=f"^workspace: params.yaml: {section} is no mapping of settings; run that"):
        read_run("workspace", project)  # fmt: skip


def replaced(tree, keys, value):
    return value if not keys else tree | {keys[0]: replaced(tree[keys[0]], keys[1:], value)}


def places(tree, keys=()):
    yield keys
    for key in tree if isinstance(tree, dict) else ():
        yield from places(tree[key], (*keys, key))


def without(tree, keys):
    inner = tree
    for key in keys[:-1]:
        inner = inner[key]
    return replaced(tree, keys[:-1], {name: value for name, value in inner.items() if name != keys[-1]})


@pytest.mark.parametrize("file", [paths.METRICS, paths.INTERVALS])
def test_figures_of_another_shape(project, capsys, file):
    """Every value is missing or of another type: the headline has one figure less, or it is one line."""
    tree = json.loads(file.read_text(encoding="utf-8"))
    trees = [replaced(tree, keys, value) for keys in places(tree) for value in WRONG]
    trees += [without(tree, keys) for keys in places(tree) if keys]
    refused = 0
    for other in trees:
        file.write_text(json.dumps(other), encoding="utf-8")
        try:
            headline(as_json=False)
        except ValueError as error:
            assert str(file) in str(error) and "\n" not in str(error)
            refused += 1
    assert len(trees) / 3 < refused < len(trees)
    capsys.readouterr()


def test_figures_that_are_cut_and_those_of_an_experiment(project, capsys, monkeypatch):
    files = [paths.METRICS, paths.INTERVALS]
    for read in (lambda: headline(as_json=False), lambda: _workspace({}, "abc")):
        refused, accepted = refused_damages(files, read, GROSS)
        assert {file for file, _ in refused} == {"metrics.json", "intervals.json"}
        assert not {damage for _, damage in accepted} & {"cut to half", "zeroed", "another file"}
    capsys.readouterr()

    class Stored:
        def __init__(self, *_, **__):
            self.read_bytes = lambda name: paths.METRICS.read_bytes()

    monkeypatch.setattr("dvc.api.DVCFileSystem", Stored)
    refused, _ = refused_damages([paths.METRICS], lambda: seeds.read_metrics("lucky-bird"), GROSS)
    assert {damage for _, damage in refused} >= set(GROSS)
    paths.METRICS.write_bytes(b"[1]")
    with pytest.raises(ValueError, match=r"^lucky-bird: reports/metrics\.json: damaged.*; run that revision again$"):
        seeds.read_metrics("lucky-bird")


def test_what_vitrine_and_dvc_keep(project):
    memory, config, code = (project / name for name in (".dvc/tmp/vitrine/memory.json", ".dvc/config", "code.txt"))
    memory.parent.mkdir(parents=True)
    memory.write_text('{"train": 3}', encoding="utf-8")
    config.write_text("[cache]\n    dir = /x\n", encoding="utf-8")
    code.write_text("abc  pipeline_lib/a.py\n", encoding="utf-8")
    refused, _ = refused_damages([memory], lambda: StageMemory(1, memory))
    assert {"cut to half", "empty", "zeroed", "[{'train': 3}]", "text"} <= {damage for _, damage in refused}
    other = {"no section": lambda data: b"dir = /x\n", "not UTF-8": lambda data: data + b"\xff"}
    refused, _ = refused_damages([config], link_targets, other)
    assert len(refused) == 2
    refused, _ = refused_damages([code], lambda: read_list(code), other)
    assert {damage for _, damage in refused} == {"not UTF-8"}
    config.write_bytes(b"dir = /x\n")
    with pytest.raises(ValueError, match=r"\.dvc/config: damaged.*; correct it: https://doc\.dvc\.org"):
        link_targets()
    memory.write_bytes(b"[")
    with pytest.raises(ValueError, match=r"memory\.json: damaged.*; copy or download it again"):
        StageMemory(1, memory)


def test_a_recipe(project):
    recipe = project / "a01.yaml"
    recipe.write_text("name: a\nparams: {train: {epochs: 3}}\n", encoding="utf-8")
    refused, _ = refused_damages([recipe], lambda: read_yaml(recipe), YAML_DAMAGES)
    assert len(refused) >= len(YAML_DAMAGES) - 1

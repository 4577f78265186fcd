"""Every command of the README and of docs/ is one that the project has; the cheap ones are run for real."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import (
    LANGUAGES,
    PAGES,
    ROOT,
    all_commands,
    blocks,
    check_command,
    check_setting,
    inline_code,
    names_command,
    parts,
    tracked,
)
from made_run import Run, build_run
from typer.testing import CliRunner

from pipeline_lib.cli.main import app
from pipeline_lib.experiments.recipes.schema import LogRecipe
from pipeline_lib.params.all_sections import SECTIONS, check_all
from pipeline_lib.params.section import load_params

ALL = all_commands()
SECTION_NAMES = "|".join(sorted(kind.section for kind in SECTIONS))
FILE_ENDINGS = "py|md|yaml|json|faiss|html|safetensors|parquet|csv|npy"
# What is run for real: `vitrine` in this process, on a made run; `dvc` in a copy of the project.
RUN_VITRINE = (
    r"vitrine (check|headline|schema|doctor|(plan|experiments|clean)( .*)?|split freeze .*"
    r"|recipe (list|show|apply) ?.*)( --json)?"
)
RUN_DVC = r"dvc (dag|status|stage list|params diff)"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_its_language(page):
    wrong = [f"{page}:{block.line}: {block.language!r}" for block in blocks(page) if block.language not in LANGUAGES]
    assert not wrong, f"{wrong}: write one of {LANGUAGES}"


@pytest.mark.parametrize("command", ALL, ids=str)
def test_every_command_is_one_that_the_project_has(command, tmp_path):
    check_command(command.text, tmp_path)


def test_commands_between_backticks_are_too(tmp_path):
    for page in PAGES:
        for code in inline_code(page):
            if re.match(r"(vitrine|dvc|make) [a-z]", code) and not names_command(code):
                check_command(re.sub(r"\[[^\]]*\]| -S$", "", code), tmp_path)


def test_settings_between_backticks_exist_and_fit(tmp_path):
    params = load_params(ROOT / "params.yaml")
    checked = set()
    for page in PAGES:
        for code in inline_code(page):
            if not re.match(rf"({SECTION_NAMES})\.[a-z_]+", code) or re.search(rf"\.({FILE_ENDINGS})$", code):
                continue
            key, _, value = code.partition("=")
            node = params
            for part in key.partition(":")[0].split("."):
                if part.isupper() or (isinstance(node, dict) and not node):
                    break
                assert isinstance(node, dict) and part in node, f"{page.name}: {code} is no setting"
                node = node[part]
            if value and code not in checked and not re.search(r"[A-Z]{2}|\.\.\.|NAME", value):
                check_setting(code, tmp_path)
                checked.add(code)


def test_yaml_blocks_fit_the_file_that_their_first_line_names():
    from ruamel.yaml import YAML

    for page in PAGES:
        for block in blocks(page):
            if block.language != "yaml":
                continue
            where = block.lines[0].removeprefix("# ")
            patch = YAML(typ="safe").load("\n".join(block.lines))
            if where == "params.yaml":
                check_all(merged(load_params(ROOT / "params.yaml"), patch), ROOT / "params.yaml")
            elif where.startswith("recipes/"):
                LogRecipe.model_validate(patch)
            elif where.endswith("model.yaml"):
                assert {"image", "text", "embedding_dim"} <= set(patch)
            else:
                raise AssertionError(f"{page}:{block.line}: {where!r} is a file that no test knows")


def merged(base, patch):
    found = dict(base)
    for key, value in patch.items():
        inner = found.get(key)
        found[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return found


@pytest.mark.parametrize(
    "text",
    [
        "conda install vitrine",
        "make everything",
        "dvc repro training",
        "dvc repro data/sample/dvc.yaml:training",
        "dvc exp run --swiftly",
        "dvc exp run -S train.unfreeze_layer=8",
        "dvc exp run -S train.precision=fp8",
        "vitrine find mugs",
        "vitrine search mugs --page 2",
        "vitrine recipe run a99",
        "python -m stages.train --layer 2",
        "python -m http.server",
        "WORKERS=2 make repro",
    ],
)
def test_a_command_that_is_not_there_is_found(text, tmp_path):
    with pytest.raises((AssertionError, ValueError)):
        check_command(text, tmp_path)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with a made run's files."""
    folder = tmp_path_factory.mktemp("project")
    for name in tracked():
        if name.startswith(("tests/", "bench/", "docs/")):
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    build_run(Run(folder, num_products=20, num_rejects=2))
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], cwd=folder, check=True)
    return folder


def chosen(pattern: str) -> list:
    found = {}
    for command in ALL:
        for words in parts(command.text):
            text = shlex.join(words)
            if re.fullmatch(pattern, text) and not re.search(r"\b[A-Z]{3,}\b", text):
                found.setdefault(text, command)
    return list(found.items())


# `plan` asks DVC in this process, and a library that DVC uses warns of its own next version.
@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")
@pytest.mark.parametrize(("text", "command"), chosen(RUN_VITRINE), ids=str)
def test_cheap_commands_of_vitrine_do_what_the_page_shows(text, command, project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, shlex.split(text)[1:])
    assert result.exit_code == 0, result.output
    if "recipe apply" in text:
        shutil.copy(ROOT / "params.yaml", project / "params.yaml")
    # A made run has other figures than the sample, a terminal another width than this one.
    if "headline" not in text:
        for line in filter(str.strip, command.output):
            if "..." not in line:
                assert line.split() and " ".join(line.split()) in " ".join(result.output.split()), line


@pytest.mark.parametrize(("text", "command"), chosen(RUN_DVC), ids=str)
def test_cheap_commands_of_dvc_run(text, command, project):
    words = [sys.executable, "-m", "dvc", *shlex.split(text)[1:]]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_cheap_commands_are_there():
    run = {text for pattern in (RUN_VITRINE, RUN_DVC) for text, _ in chosen(pattern)}
    assert {"vitrine check", "vitrine headline", "vitrine recipe list", "vitrine doctor", "vitrine plan"} <= run
    assert {"vitrine experiments", "vitrine clean", "vitrine split freeze v1", "dvc dag"} <= run

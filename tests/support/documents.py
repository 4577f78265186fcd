"""The pages of the project, and what they name: commands, paths, settings and links.

`check_command` tries a command without its work: options are parsed by the program's own parser, settings go through
the functions that `dvc exp run -S` uses. A kind of command that it does not know is an error, so none goes untested.
"""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer
from dvc.cli import DvcParserError, parse_args
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps
from ruamel.yaml import YAML

from pipeline_lib.cli.main import app
from pipeline_lib.experiments.recipes.schema import recipe_names
from pipeline_lib.params.all_sections import SECTIONS, check_all
from pipeline_lib.params.section import load_params, parse_section, pick

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md", "findings/README.md")),
    *sorted(ROOT.glob("docs/*.md")),
]
COMMANDS = ("bash", "console")
LANGUAGES = (*COMMANDS, "text", "yaml", "python", "csv", "json")
# Stands for a user's own name: an experiment, a folder, an address.
PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_-]+(\.\.\.)?")
VARIABLES = {"VITRINE_LAUNCH", "VITRINE_FORKSERVER", "CUDA_VISIBLE_DEVICES", "RAY_ADDRESS", "DASK_SCHEDULER_ADDRESS"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its lines, and the number of its first line."""

    page: Path
    line: int
    language: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """One command of a page, and the lines that a console block shows as its output."""

    page: Path
    line: int
    text: str
    output: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line} {self.text}"


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    found, language, start, lines = [], None, 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").split("\n"), start=1):
        fence = re.fullmatch(r"\s*```(.*)", line)
        if fence and language is None:
            language, start, lines = fence[1].strip(), number + 1, []
        elif fence:
            found.append(Block(page, start, language, tuple(lines)))
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"{page}:{start}: a block is not closed"
    return found


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^\s*```.*?^\s*```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def inline_code(page: Path) -> set[str]:
    """Return what stands between single backticks in a page's prose."""
    return {" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))}


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a bash or console block, lines that end in a backslash joined."""
    prompt = "$ " if block.language == "console" else ""
    number = 0
    while number < len(block.lines):
        start, line = number, block.lines[number]
        number += 1
        if not line.startswith(prompt) or not line.strip() or line.startswith("#"):
            continue
        text = line.removeprefix(prompt)
        while text.endswith("\\"):
            text = text[:-1] + block.lines[number].strip()
            number += 1
        output = []
        while prompt and number < len(block.lines) and not block.lines[number].startswith(prompt):
            output.append(block.lines[number])
            number += 1
        yield Command(block.page, block.line + start, text, tuple(output))


def all_commands() -> list[Command]:
    """Return the commands of all pages."""
    return [
        command for page in PAGES for block in blocks(page) if block.language in COMMANDS for command in commands(block)
    ]


def parts(text: str) -> list[list[str]]:
    """Return the words of each simple command in a line; comments and variables set before a command are dropped.

    >>> parts("mkdir -p a && RAY_ADDRESS=HEAD:6379 dvc repro  # again")
    [['mkdir', '-p', 'a'], ['dvc', 'repro']]
    """
    found: list[list[str]] = [[]]
    for word in shlex.split(text, comments=True):
        if word == "&&":
            found.append([])
        elif not found[-1] and re.match(r"[A-Z_]+=", word):
            name = word.partition("=")[0]
            assert name in VARIABLES, f"{name} is a variable that no test knows"
        else:
            found[-1].append(word)
    return [words for words in found if words]


def check_command(text: str, folder: Path) -> None:
    """Raise AssertionError or ValueError for a command that the project does not have; `folder` is scratch space."""
    for words in parts(text):
        program, arguments = words[0], words[1:]
        assert program in KINDS, f"{program!r} is a kind of command that no test knows; add it to KINDS"
        KINDS[program](arguments, folder)


def check_make(arguments: list[str], folder: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    for target in arguments:
        assert target in phony and re.search(rf"^{target}:", makefile, re.MULTILINE), f"make has no target {target}"


def check_dvc(arguments: list[str], folder: Path) -> None:
    try:
        parsed = parse_args(arguments)
    except DvcParserError as error:
        raise ValueError(f"dvc {' '.join(arguments)}: no such command or option") from error
    if arguments[:1] == ["repro"]:
        for target in parsed.targets:
            file, _, name = target.rpartition(":")
            assert name.partition("@")[0] in stages(file or "dvc.yaml"), f"{file or 'dvc.yaml'} has no stage {name}"
    if changes := getattr(parsed, "set_param", None):
        check_settings(changes, folder)
    for target in getattr(parsed, "targets", None) or []:
        if arguments[:1] != ["repro"]:
            check_path(target)


def check_settings(changes: list[str], folder: Path) -> None:
    """Raise ValueError unless `dvc exp run` with these -S runs, each cell of a grid, on params.yaml as it is."""
    path = folder / "params.yaml"
    for name in (
        "weights/image",
        "weights/text",
        "clip_weights/image",
        "clip_weights/text",
    ):  # as after `make repro`: a path that is there is checked
        (folder / "data/sample" / name).mkdir(parents=True, exist_ok=True)
    for sweep in get_hydra_sweeps({str(path): changes}):
        for overrides in sweep.values():
            check_all(changed_params(overrides, path), path)


def changed_params(overrides: list[str], path: Path) -> dict[str, Any]:
    """Return params.yaml with changes that DVC makes; it is given the sections that they name alone, as `path`."""
    params = load_params(ROOT / "params.yaml")
    named = {re.split(r"[.=@]", one.lstrip("+~"))[0] for one in overrides}
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump({name: params[name] for name in named & params.keys()}, stream)
    apply_overrides(path, overrides)
    return {name: value for name, value in params.items() if name not in named} | load_params(path)


def check_setting(change: str, folder: Path) -> None:
    """Raise ValueError unless one key=value fits its own section."""
    path = folder / "params.yaml"
    pick(load_params(ROOT / "params.yaml"), change.partition("=")[0])
    params, section = changed_params([change], path), change.partition(".")[0]
    for kind in SECTIONS:
        if kind.section == section:
            parse_section(kind, params)


def check_vitrine(arguments: list[str], folder: Path) -> None:
    command: Any = typer.main.get_command(app)
    context, words, name = None, list(arguments), "vitrine"
    if len(arguments) == 1 and arguments[0].startswith("--"):
        # Not parsed: typer would change the shell's own files at once.
        assert arguments[0] in {option for parameter in command.params for option in parameter.opts}, arguments[0]
        return
    try:
        while hasattr(command, "commands"):
            context = command.make_context(name, words, parent=context)
            name, command, words = command.resolve_command(context, words)
        given = command.make_context(name, words, parent=context).params
    except Exception as error:  # typer has its own copy of click, whose errors it does not export
        raise ValueError(f"vitrine {' '.join(arguments)}: {error}") from error
    if changes := given.get("change"):
        check_settings(changes, folder)
    if arguments[0] == "recipe" and given.get("name") and not PLACEHOLDER.fullmatch(given["name"]):
        known = [*recipe_names(ROOT / "recipes"), *(path.stem for path in ROOT.glob("recipes/profiles/*.yaml"))]
        assert given["name"] in known, f"there is no recipe {given['name']}"


def names_command(text: str) -> bool:
    """Tell whether a text is the name of a command and nothing else, `vitrine recipe run` say."""
    program, *words = text.split()
    if program == "dvc":
        try:
            parse_args([*words, "--help"])
        except (DvcParserError, SystemExit) as end:
            return getattr(end, "code", 1) == 0
    command: Any = typer.main.get_command(app)
    for word in words if program == "vitrine" else ():
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            return False
    return program == "vitrine"


def check_python(arguments: list[str], folder: Path) -> None:
    if arguments[:1] != ["-m"]:
        assert (ROOT / arguments[0]).is_file(), f"there is no script {arguments[0]}"
        return
    module, options = arguments[1], arguments[2:]
    if module.startswith("stages."):
        known = [stage["cmd"] for stage in stages().values() if stage["cmd"].split()[2] == module]
        flags = [word for word in options if word.startswith("--")]
        assert any(flags == [word for word in cmd.split() if word.startswith("--")] for cmd in known), options
    elif module == "pytest":
        for word in options:
            if "/" in word:
                assert (ROOT / word.partition("::")[0]).exists(), word
    else:
        assert module in ("venv", "pip"), f"python -m {module} is a command that no test knows"


def check_bash(arguments: list[str], folder: Path) -> None:
    assert (ROOT / arguments[0]).is_file(), f"there is no script {arguments[0]}"


def check_pip(arguments: list[str], folder: Path) -> None:
    assert arguments[0] == "install", arguments
    for extra in re.findall(r"\.\[([a-z0-9,]+)\]", " ".join(arguments)):
        listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        for name in extra.split(","):
            assert re.search(rf"^{name} = \[", listed, re.MULTILINE), f"pyproject.toml has no extra {name}"


def check_git(arguments: list[str], folder: Path) -> None:
    assert arguments[0] in ("clone", "checkout", "add", "commit", "diff", "tag", "init", "push"), arguments
    for word in arguments[1:]:
        if "/" in word and not word.startswith("http"):
            check_path(word)


def check_files(arguments: list[str], folder: Path) -> None:
    for word in arguments:
        if word.startswith(top_level()):
            check_path(word)


def check_cluster(arguments: list[str], folder: Path) -> None:
    assert arguments[:1] in (["start"], ["scheduler"], ["worker"], ["s3"]), arguments
    check_files(arguments, folder)


KINDS: dict[str, Callable[[list[str], Path], None]] = {
    "make": check_make,
    "dvc": check_dvc,
    "vitrine": check_vitrine,
    "python": check_python,
    "bash": check_bash,
    "pip": check_pip,
    "git": check_git,
    "ray": check_cluster,
    "dask": check_cluster,
    "aws": check_cluster,
    **dict.fromkeys(
        (
            ".",
            "cd",
            "chmod",
            "cp",
            "mkdir",
            "rm",
            "tail",
            "unzip",
            "ruff",
            "mypy",
            "pre-commit",
            "tensorboard",
            "apt-get",
        ),
        check_files,
    ),
}


@cache
def stages(file: str = "dvc.yaml") -> dict[str, Any]:
    """Return the stages of a file of DVC."""
    return YAML(typ="safe").load((ROOT / file).read_text(encoding="utf-8"))["stages"]


@cache
def outs() -> tuple[str, ...]:
    """Return the patterns of what stages write, relative to the root."""
    found = []
    for prefix, listed in (("", stages()), ("data/sample/", stages("data/sample/dvc.yaml"))):
        for stage in listed.values():
            for out in [*stage.get("outs", []), *stage.get("metrics", [])]:
                name = next(iter(out)) if isinstance(out, dict) else out
                found.append(prefix + re.sub(r"\$\{[^}]*\}", "*", name))
    return tuple(found)


# Where a user's own files, logs and checkpoints lie: nothing there is tracked.
OWN = ("data/raw/", "data/starts/", "data/predictions/", "data/splits/", "data/judgements/", "data/weights",
       "data/work/copies", "data/work/.digests", "logs/", ".ckpt", ".dvc/", "reports/recipes.md", ".venv")  # fmt: skip


@cache
def tracked() -> tuple[str, ...]:
    """Return the files of the project: tracked, or new and not ignored."""
    listing = ["git", "ls-files", "-z", "-co", "--exclude-standard"]
    found = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return tuple(name for name in found if name and (ROOT / name).exists())


@cache
def top_level() -> tuple[str, ...]:
    """Return the beginnings that make a word a path of this project."""
    return (*sorted({name.partition("/")[0] + "/" for name in tracked() if "/" in name}), "logs/", "reports/", ".ckpt")


def check_path(path: str) -> None:
    """Raise AssertionError unless a path is a file of the project, an output of a stage, or a user's own place."""
    plain = path.rstrip("/").removeprefix("./")
    if (ROOT / plain).exists() or plain.startswith(OWN) or (ROOT / plain).parent == ROOT / "data/raw":
        return
    words = [re.sub(r"<[a-z]+>|[A-Z][A-Z_-]+", "*", plain)]
    pattern = re.escape(words[0]).replace(r"\*", "[^/]+")
    if any(re.fullmatch(rf"{pattern}(/.*)?", name) for name in tracked()):
        return
    for out in outs():
        produced = re.escape(out).replace(r"\*", "[^/]+")
        if re.fullmatch(rf"{produced}(/.*)?", words[0].replace("*", "x")):
            return
        if re.fullmatch(rf"{re.escape(words[0])}(/.*)?", out.split("/*")[0]):
            return
    raise AssertionError(f"{path} is neither a file of the project nor an output of a stage")

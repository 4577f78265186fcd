"""The code that each stage of dvc.yaml depends on: what it imports, except what cannot change a byte of its outs.

A package is a folder dep if the stage uses all of it; otherwise its modules are listed one by one, so that an edit
reruns only the stages it can affect. `vitrine deps --write` writes the lists into dvc.yaml; a test compares them with
the imports in both directions. The guard of a running stage (pipeline_lib/execution/stage.py) has no exemptions.
"""

import json
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline_lib.execution.import_closure import PACKAGES, import_closure

CODE = tuple(f"{package}/" for package in PACKAGES)
WIDTH = 120
# Modules and packages that are no deps, with the reason why an edit cannot change an out. Whoever breaks the reason in
# an edit must take the module off this list or force the stages with `dvc repro --force`.
EXEMPT = {
    "pipeline_lib/artifacts/paths.py": "names of folders; dvc.yaml has the same ones, and a test compares",
    "pipeline_lib/artifacts/remote.py": "the bytes read from a URL are those of the local file",
    "pipeline_lib/execution/checkpoint.py": "a resumed run writes the same outs as an unbroken one (tested)",
    "pipeline_lib/execution/checkpoint_runs.py": "which checkpoints stay; a run without any writes the same outs",
    "pipeline_lib/execution/forkserver.py": "how the process of a stage starts",
    "pipeline_lib/execution/import_closure.py": "used by the guard and for the name of the checkpoint folder",
    "pipeline_lib/execution/launch.py": "how several processes start; their number is not part of a stage's identity",
    "pipeline_lib/execution/parallel.py": "results come in the order of the items, whatever computes them (tested)",
    "pipeline_lib/execution/stage.py": "the guard: it reads params, compares hashes and prints errors",
    "pipeline_lib/execution/threads.py": "how threads wait and when garbage is collected",
    "pipeline_lib/params": "the classes check values and change none (tested); DVC tracks the values themselves",
}
# Inside an exempt package, but able to change outs.
NOT_EXEMPT = {"pipeline_lib/params/phases.py": "it merges the changes of a phase into train"}


def code_deps(module: str, root: Path = Path()) -> list[str]:
    """Return the code deps of one stage's module: folders and files, sorted."""
    used = {path for path in (path.relative_to(root) for path in import_closure(module, root)) if _counts(path)}
    return sorted({_dep(path, used, root).as_posix() for path in used})


def _counts(path: Path) -> bool:
    """Return whether a source file can change an out."""
    if path.name == "__init__.py":  # all are empty (tested)
        return False
    names = {path.as_posix(), *(parent.as_posix() for parent in path.parents)}
    return path.as_posix() in NOT_EXEMPT or not names & EXEMPT.keys()


def _dep(path: Path, used: set[Path], root: Path) -> Path:
    """Return the largest package around a used file whose modules are all used, or the file itself."""
    packages = [parent for parent in path.parents if len(parent.parts) > 1]
    complete = [package for package in packages if _modules(package, root) <= used]
    return complete[-1] if complete else path


def _modules(package: Path, root: Path) -> set[Path]:
    return {file.relative_to(root) for file in (root / package).rglob("*.py") if file.name != "__init__.py"}


def module_of(cmd: str) -> str:
    """Return the module that a stage's command runs.

    >>> module_of("python -m stages.train --fold ${item.fold}")
    'stages.train'
    """
    match = re.fullmatch(r"python -m (stages\.\w+)( --\w+ \$\{item(\.\w+)+\})*", cmd)
    if not match:
        raise ValueError(f"cmd {cmd!r}: write `python -m stages.NAME` with ${{item.*}} only; all else is a param")
    return match[1]


def declared_code(stage: dict[str, Any]) -> list[str]:
    """Return the code among a stage's deps."""
    return sorted(dep for dep in stage["deps"] if dep.startswith(CODE))


def stale_stages(dvc_yaml: Path) -> list[str]:
    """Return the names of the stages whose code deps differ from what their code imports."""
    return [name for name, (stage, code) in _wanted(dvc_yaml).items() if declared_code(stage) != code]


def write_code_deps(dvc_yaml: Path) -> list[str]:
    """Write every stage's code deps after its data deps; return the names of the stages that changed."""
    text = dvc_yaml.read_text(encoding="utf-8")
    stages = _wanted(dvc_yaml)
    for name, (stage, code) in stages.items():
        head, deps = rf"^  {re.escape(name)}:\n(?:    .*\n)*?    deps:", r"[^\n]*\n(?:    [- \]].*\n)*"
        match = re.search(f"(?P<head>{head}){deps}", text, re.MULTILINE)
        assert match, f"{name}: its deps are not written as expected"
        data = [dep for dep in stage["deps"] if not dep.startswith(CODE)]
        text = text[: match.end("head")] + _written(data, code) + text[match.end() :]
    dvc_yaml.write_text(text, encoding="utf-8")
    return [name for name, (stage, code) in stages.items() if declared_code(stage) != code]


def _wanted(dvc_yaml: Path) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """Return each stage of dvc.yaml with the code deps that it must have."""
    stages: dict[str, dict[str, Any]] = YAML(typ="safe").load(dvc_yaml.read_text(encoding="utf-8"))["stages"]
    return {name: (stage, code_deps(module_of(stage["cmd"]), dvc_yaml.parent)) for name, stage in stages.items()}


def _written(data: list[str], code: list[str]) -> str:
    """Return a flow sequence of YAML: the data deps first, the code deps on lines of their own."""
    return " [\n" + "".join(f"      {line}\n" for deps in (data, code) for line in _filled(deps)) + "    ]\n"


def _filled(deps: list[str]) -> list[str]:
    """Return deps joined by commas, on as few lines as fit."""
    lines: list[str] = []
    for dep in deps:
        item = f"{json.dumps(dep) if '$' in dep else dep},"
        if lines and len(f"      {lines[-1]} {item}") <= WIDTH:
            lines[-1] += f" {item}"
        else:
            lines.append(item)
    return lines

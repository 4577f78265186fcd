"""The code that each stage of dvc.yaml must name as deps: its import closure, no more and no less.

A package stands as a folder only where the stage reaches every module of it; else its modules are named one by one, so
that an edit reruns just what it can change. `vitrine deps --write` puts the lists into dvc.yaml; a test compares.
"""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline_lib.execution.import_closure import PACKAGES, import_closure

CODE = tuple(f"{package}/" for package in PACKAGES)


def code_deps(module: str, root: Path = Path()) -> list[str]:
    """Return the code deps of one stage's module: folders and files, sorted."""
    used = {path.relative_to(root) for path in import_closure(module, root) if path.name != "__init__.py"}
    found: set[str] = set()
    for path in used:
        package = path.parent
        modules = {file.relative_to(root) for file in (root / package).glob("*.py") if file.name != "__init__.py"}
        whole = len(package.parts) > 1 and modules <= used
        found.add((package if whole else path).as_posix())
    return sorted(found)


def module_of(cmd: str) -> str:
    """Return the module that a stage's command runs.

    >>> module_of("python -m stages.train --fold ${item.fold}")
    'stages.train'
    """
    match = re.fullmatch(r"python -m (stages\.\w+)( --\w+ \$\{item(\.\w+)+\})*", cmd)
    if not match:
        raise ValueError(f"cmd {cmd!r}: write `python -m stages.NAME` with ${{item.*}} alone; all else is a param")
    return match[1]


def declared_code(stage: dict[str, Any]) -> list[str]:
    """Return the code among a stage's deps."""
    return sorted(dep for dep in stage["deps"] if dep.startswith(CODE))


def stale_stages(dvc_yaml: Path) -> list[str]:
    """Return the names of the stages whose code deps are not what their code imports."""
    stages = YAML(typ="safe").load(dvc_yaml.read_text(encoding="utf-8"))["stages"]
    return [
        name
        for name, stage in stages.items()
        if declared_code(stage) != code_deps(module_of(stage["cmd"]), dvc_yaml.parent)
    ]


def write_code_deps(dvc_yaml: Path) -> list[str]:
    """Put every stage's code deps behind its data deps; return the names of the stages that changed."""
    yaml = YAML()
    yaml.width = 120
    yaml.preserve_quotes = True
    document = yaml.load(dvc_yaml.read_text(encoding="utf-8"))
    changed = []
    for name, stage in document["stages"].items():
        wanted = code_deps(module_of(stage["cmd"]), dvc_yaml.parent)
        if declared_code(stage) != wanted:
            stage["deps"] = [dep for dep in stage["deps"] if not dep.startswith(CODE)] + wanted
            changed.append(str(name))
    with dvc_yaml.open("w", encoding="utf-8") as stream:
        yaml.dump(document, stream)
    return changed

"""Finds the project's own source files that a module imports, directly or indirectly, without executing anything."""

import ast
from functools import cache
from pathlib import Path

PACKAGES = ("pipeline_lib", "stages")


def import_closure(module: str, root: Path = Path()) -> list[Path]:
    """Return the sorted source files of the project that an import of `module` can execute."""
    pending, sources = [module], dict[str, Path]()
    while pending:
        name = pending.pop()
        path = _source_of(name, root)
        if name in sources or path is None:
            continue
        sources[name] = path
        pending.append(name.rpartition(".")[0])
        pending += _imports(path.read_text(encoding="utf-8"))
    return sorted(set(sources.values()))


@cache
def _imports(source: str) -> tuple[str, ...]:
    """Return the modules that a source text names in its imports; parsing is the slow part of a closure."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)


def _source_of(module: str, root: Path) -> Path | None:
    if module.split(".")[0] not in PACKAGES:
        return None
    path = root.joinpath(*module.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)

"""The project's own source files that a module can reach by importing, found without executing anything."""

import ast
from pathlib import Path

PACKAGES = ("pipeline_lib", "stages")


def import_closure(module: str, root: Path = Path()) -> list[Path]:
    """Return the project's own source files that importing `module` can reach, found without executing anything."""
    waiting, seen = [module], dict[str, Path]()
    while waiting:
        name = waiting.pop()
        path = _source_of(name, root)
        if name in seen or path is None:
            continue
        seen[name] = path
        waiting.append(name.rpartition(".")[0])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return sorted(set(seen.values()))


def _source_of(module: str, root: Path) -> Path | None:
    if module.split(".")[0] not in PACKAGES:
        return None
    path = root.joinpath(*module.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)

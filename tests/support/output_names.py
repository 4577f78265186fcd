"""The files that docs/outputs.md names, and what of a project's outs it does not."""

import re
from pathlib import Path

from documents import ROOT, inline_code

PAGE = ROOT / "docs" / "outputs.md"


def tables() -> dict[str, list[str]]:
    """Return the heading of each file of the page, and the names in the first column of the table under it."""
    found = {}
    for part in re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        if heading := re.match(r"`([^`]+)`", part):
            body = re.split(r"^## ", part, flags=re.MULTILINE)[0]
            found[heading[1]] = re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE)
    return found


def unnamed(root: Path) -> list[str]:
    """Return the files of a project's outs that the page does not name.

    Files of a stage's folder may be named without it: `index.faiss`, `matrix.npy`, `tokenizer/`.
    """
    codes = [code.rstrip("/") for code in inline_code(PAGE)] + list(tables())
    full = [_pattern(code) for code in codes if code.startswith(("data/", "reports/"))]
    bare = {code for code in codes if "/" not in code}
    missing = []
    for file in sorted([*root.glob("data/work/**/*"), *root.glob("reports/**/*")]):
        name = file.relative_to(root).as_posix()
        if not file.is_file() or "/." in name or "/copies/" in name:
            continue
        inside = any(re.match(f"{folder}/", name) for folder in full)
        known = file.name in bare or file.parent.name in bare or "/figures/" in name
        # A store is named by its folder.
        if file.name == "matrix.npy":
            known = file.parent.name in bare
        if not any(re.fullmatch(one, name) for one in full) and not (inside and known):
            missing.append(name)
    return missing


def _pattern(path: str) -> str:
    """The expression for a path of the page; a folder stands for what the text says is in it."""
    return re.sub(r"<[a-z]+>", "[^/]+", re.escape(path).replace(r"\<", "<").replace(r"\>", ">"))

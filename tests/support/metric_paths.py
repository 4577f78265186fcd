"""The table "Paths in metrics.json" of docs/metrics.md, and what of a metrics.json it does not describe."""

import re
from collections.abc import Iterator

from documents import ROOT

PAGE = ROOT / "docs" / "metrics.md"
# Words of the table that stand for some names alone; any other word in capitals stands for any name.
NAMES = {"SPLIT": "oof|test", "DIRECTION": "text_to_image|image_to_text"}
# Figures of the protocols of composed retrieval, which the page lists with their cutoffs.
OF_PROTOCOLS = r"(R|R_subset|R_soft|mAP)@\d+|mean"


def described() -> list[tuple[list[str], str]]:
    """Return the parts of each path of the table as expressions, and its content."""
    table = PAGE.read_text(encoding="utf-8").partition("## Paths in metrics.json")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| (.*) \|$", table, re.MULTILINE)
    return [
        ([NAMES.get(part, r".+" if part.isupper() else re.escape(part)) for part in path.split(".")], content)
        for path, content in rows
    ]


def leaves(tree: dict, parts: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*parts, key))
        else:
            yield (*parts, key)


def undescribed(metrics: dict) -> list[str]:
    """Return the paths of the figures of a metrics.json that no row of the table describes."""
    rows = described()
    assert rows
    return [".".join(path) for path in leaves(metrics) if not any(_describes(*row, path) for row in rows)]


def _describes(expressions: list[str], content: str, path: tuple[str, ...]) -> bool:
    """The row's path begins the figure's, and its content names the rest; a row of names of the run has no rest."""
    if len(path) > 1 and path[1] == "retrieval_zero_shot" and "retrieval_zero_shot" not in expressions:
        return "SPLIT.retrieval" in content or _describes(expressions, content, (path[0], "retrieval", *path[2:]))
    if not all(re.fullmatch(one, part) for one, part in zip(expressions, path, strict=False)):
        return False
    rest = path[len(expressions) :]
    if not rest:
        return len(expressions) == len(path) and expressions[-1] == ".+"
    known = set(re.findall(r"`([^`]+)`", content))
    of_protocol = "composed.protocol" in content
    return all(name in known or (of_protocol and re.fullmatch(OF_PROTOCOLS, name)) for name in rest)

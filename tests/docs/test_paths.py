"""Every path and link that a page names leads somewhere, and the files that answer questions hold what they should."""

import ast
import re

import pytest
from documents import PAGES, ROOT, check_path, inline_code, prose, top_level

QUESTIONS = ROOT / "CONTRIBUTING.md"


def ids(page):
    return str(page.relative_to(ROOT))


def anchors(page) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_paths_exist_or_are_outputs(page):
    for code in inline_code(page):
        if code.startswith(top_level()) and " " not in code:
            check_path(code)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=ids)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}: {sorted(anchors(file))}"


def test_every_page_is_in_the_table_of_pages_and_linked_from_the_readme():
    table, first = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/README.md", "README.md"))
    for page in ROOT.glob("docs/*.md"):
        if page.name != "README.md":
            assert f"({page.name})" in table and f"(docs/{page.name})" in first, page.name


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 130


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name == "docs"], ids=ids)
def test_a_page_opens_with_a_heading_and_an_introduction(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ") and not lines[1]
    assert page.name in ("README.md", "settings.md") or re.match(r"[A-Z`]", lines[2]), page.name


def rows(page):
    """The rows of the table of questions: question, file, name."""
    found = re.findall(
        r"^\| (Where[^|]*\?) \| `([^`]+)` \| `([^`]+)` \|$", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    return found


def defined(path) -> set[str]:
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize(("question", "path", "name"), rows(QUESTIONS))
def test_a_question_is_answered_by_its_path(question, path, name):
    assert name in defined(ROOT / path), question


def test_there_are_twelve_questions():
    assert len(rows(QUESTIONS)) == 12


def test_the_floors_in_architecture_are_those_of_the_layer_test():
    layers = (ROOT / "tests/architecture/test_layers.py").read_text(encoding="utf-8")
    node = next(
        node
        for node in ast.parse(layers).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FLOORS"
    )
    floors = list(reversed(ast.literal_eval(node.value)))
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)
    assert {int(number): tuple(re.findall(r"`(\w+)`", names)) for number, names in listed} == dict(enumerate(floors))


def test_architecture_describes_every_package():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for package in (ROOT / "pipeline_lib").iterdir():
        if (package / "__init__.py").is_file():
            assert f"| `pipeline_lib/{package.name}` |" in text, package.name

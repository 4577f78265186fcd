"""Files for contributors: hooks run tools that the project installs, CI runs .ci/run, forms are well formed."""

import re
from collections import Counter

from documents import ROOT
from ruamel.yaml import YAML


def read(name):
    return YAML(typ="safe").load((ROOT / name).read_text(encoding="utf-8"))


def test_hooks_run_tools_of_the_test_extras():
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    hooks = [hook for repository in read(".pre-commit-config.yaml")["repos"] for hook in repository["hooks"]]
    tools = {hook["entry"].split()[0] for hook in hooks}
    assert tools == {".venv/bin/ruff", ".venv/bin/mypy"}
    assert all(f'"{tool.rpartition("/")[2]}"' in extras for tool in tools)


def test_the_workflow_runs_what_ci_runs():
    steps = read(".github/workflows/ci.yml")["jobs"]["check"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["sudo .ci/chromium", ".ci/run"]
    assert all((ROOT / name).stat().st_mode & 0o100 for name in (".ci/chromium", ".ci/run"))


def test_issue_forms_have_what_github_needs():
    for name in ("bug", "idea"):
        form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
        assert form["name"] and form["description"] and form["body"]
        fields = [field["id"] for field in form["body"] if field["type"] != "markdown"]
        assert len(set(fields)) == len(fields)


def test_the_change_log_starts_with_unreleased():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    parts = re.findall(r"^### (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(parts) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_files_of_tests_have_names_of_their_own():
    """pytest imports them by these names: the second of two would not be collected."""
    names = Counter(
        path.name for path in (ROOT / "tests").rglob("*.py") if path.name not in ("__init__.py", "conftest.py")
    )
    assert not [name for name, count in names.items() if count > 1]

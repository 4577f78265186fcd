"""docs/limits.md quotes what a user sees of each bad input that was tried; each is tried again here."""

import pytest
from documents import ROOT
from tried_inputs import cases, line_of, row_of

PAGE = (ROOT / "docs/limits.md").read_text(encoding="utf-8")
CASES = {f"{heading}: {what}": (heading, what, case) for heading, own in cases().items() for what, case in own.items()}


def section(heading: str) -> list[str]:
    """Return the lines of a section of the page."""
    _, found, rest = PAGE.partition(f"\n### {heading}\n")
    assert found, f"docs/limits.md has no section {heading}"
    return rest.partition("\n#")[0].splitlines()


@pytest.mark.parametrize("name", CASES)
def test_the_page_quotes_the_line_that_a_user_sees(name, tmp_path, monkeypatch):
    heading, what, case = CASES[name]
    (tmp_path / "project").mkdir()
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path / "project")
    line = line_of(case)
    assert str(tmp_path) not in line
    assert row_of(what, line) in section(heading)


def test_the_page_has_no_other_rows():
    for heading, own in cases().items():
        rows = [line for line in section(heading) if line.startswith("| ")]
        assert len(rows) == len(own) + 2, heading
    assert len(CASES) > 100

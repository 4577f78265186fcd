"""A headless Chromium for tests of pages, and what axe-core finds serious on them; skipped where either is missing."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# The end of a run of tests names the files that were skipped for this reason.
MISSING = "no Chromium on the path"
# The headless shell first: it is the same browser without windows, and takes half of the CPU time for a page.
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
SERIOUS = {"serious", "critical"}


def playwright():
    """The library that drives the browser."""
    return pytest.importorskip("playwright.sync_api", reason="pip install 'vitrine[test]'")


@contextmanager
def headless() -> Iterator:
    """Start the browser, and close it afterwards; skips the test if there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(MISSING)
    with playwright().sync_playwright() as library:
        # In a container Chromium has no sandbox and little shared memory.
        started = library.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


def serious_faults(page):
    """The rules of axe-core that the page breaks seriously as it is now, with the elements."""
    package = pytest.importorskip("axe_playwright_python", reason="pip install 'vitrine[test]'")
    page.evaluate((Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    # Without a list of what is right, whose elements axe would describe one by one.
    wanted = "axe.run(document, {resultTypes: ['violations']}).then(found => JSON.stringify(found.violations))"
    report = json.loads(page.evaluate(wanted))
    return [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in report if one["impact"] in SERIOUS]

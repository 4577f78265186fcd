"""A headless Chromium for tests of pages, and what axe-core finds serious on them; skipped where either is missing."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if PROGRAM is None:
    pytest.skip("no Chromium on the path", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'vitrine[test]'")
axe_package = pytest.importorskip("axe_playwright_python", reason="pip install 'vitrine[test]'")
AXE = (Path(axe_package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
SERIOUS = {"serious", "critical"}


@contextmanager
def headless() -> Iterator:
    """Start the browser, and close it afterwards."""
    with playwright.sync_playwright() as library:
        # In a container Chromium has no sandbox and little shared memory.
        started = library.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


def serious_faults(page):
    """The rules of axe-core that the page breaks seriously as it is now, with the elements."""
    page.evaluate(AXE)
    report = json.loads(page.evaluate("axe.run().then(found => JSON.stringify(found.violations))"))
    return [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in report if one["impact"] in SERIOUS]

"""Whether Python and the libraries are those that the project was tested with."""

import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline_lib.experiments.doctor.finding import NOTE, OK, PROBLEM, Finding, Params

OLDEST_PYTHON = (3, 11)
PROJECT, PINS = "pyproject.toml", "constraints.txt"
SHOWN = ("torch", "dvc")
INSTALL = f"pip install -c {PINS} -e ."


@dataclass(frozen=True)
class Versions:
    """Python's version, and name -> (installed or None, pinned or None) of each library that the project needs."""

    python: tuple[int, int, int]
    libraries: dict[str, tuple[str | None, str | None]]


def read_versions(root: Path, params: Params) -> Versions:
    """Return what is installed, beside the pins of constraints.txt."""
    wanted = tomllib.loads((root / PROJECT).read_text(encoding="utf-8"))["project"]["dependencies"]
    lines = (root / PINS).read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(name): pin for name, _, pin in (line.partition("==") for line in lines) if pin}
    needed = [Requirement(one) for one in wanted]
    names = [canonicalize_name(one.name) for one in needed if one.marker is None or one.marker.evaluate()]
    return Versions(sys.version_info[:3], {name: (_installed(name), pins.get(name)) for name in names})


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def judge_versions(found: Versions) -> list[Finding]:
    """Return a finding on Python, one on what is missing, one on other versions than the pins."""
    python = ".".join(map(str, found.python))
    missing = [name for name, (installed, _) in found.libraries.items() if installed is None]
    other = [
        f"{name} {installed} (tested: {pin})"
        for name, (installed, pin) in found.libraries.items()
        if installed and pin and installed.partition("+")[0] != pin
    ]
    findings = []
    if found.python[:2] < OLDEST_PYTHON:
        findings.append(Finding(PROBLEM, f"Python {python} is too old", "make the venv with Python 3.11 or newer"))
    if missing:
        findings.append(Finding(PROBLEM, f"not installed: {', '.join(missing)}", INSTALL))
    if other:
        findings.append(Finding(NOTE, f"other versions than tested: {', '.join(other)}", INSTALL))
    shown = [f"{name} {found.libraries[name][0]}" for name in SHOWN if found.libraries.get(name, (None, None))[0]]
    return findings or [Finding(OK, ", ".join([f"Python {python}", *shown, f"all as in {PINS}"]))]

"""Who made an artefact: import closures, fingerprints, and the guard every stage runs under.

DVC hashes a stage's code and params after its command (treeverse/dvc#11058), so a run whose sources changed underway
would be recorded under the wrong ones. The guard takes both at the start and fails the stage if they moved.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pipeline_lib.artifacts.digests import digest_files, digest_folder, digest_value
from pipeline_lib.execution.import_closure import import_closure
from pipeline_lib.params.section import Section, load_params, parse_section, parse_value, pick

PR_SET_PDEATHSIG = 1

SectionT = TypeVar("SectionT", bound=Section)
ValueT = TypeVar("ValueT")


class Stage:
    """One run of a stage: the params it asked for and the code it started with."""

    def __init__(self, module: str, root: Path = Path()) -> None:
        self.module = module
        self._params = load_params(root / "params.yaml")
        self._root = root
        self._asked: dict[str, Any] = {}
        self._code = digest_files(import_closure(module, root))

    def section(self, kind: type[SectionT]) -> SectionT:
        """Return a checked section of params.yaml; it must be declared in dvc.yaml (a test compares)."""
        self._asked[kind.section] = pick(self._params, kind.section)
        return parse_section(kind, self._params)

    def value(self, key: str, kind: type[ValueT]) -> ValueT:
        """Return one checked value of params.yaml by its dotted key; declared likewise."""
        self._asked[key] = pick(self._params, key)
        return parse_value(key, kind, self._params)

    def fingerprint(self, *inputs: Path, **identity: object) -> str:
        """Return the identity of this run: code, asked params, content of input folders, fold and the like."""
        folders = {path.as_posix(): digest_folder(path) for path in inputs}
        return digest_value([self._code, self._asked, folders, identity])

    def check_unchanged(self) -> None:
        """Raise ValueError if this stage's code or params are no longer what it started with."""
        now = load_params(self._root / "params.yaml")
        moved = [key for key, value in self._asked.items() if pick(now, key) != value]
        if digest_files(import_closure(self.module, self._root)) != self._code:
            moved.append("the code")
        if moved:
            raise ValueError(
                f"{self.module}: {', '.join(moved)} changed while the stage ran; its outs would be recorded under "
                "the new state. Not recorded: run `dvc repro` again"
            )


def die_with_parent() -> None:
    """Have the kernel end this process when its parent is killed: no orphan trains on, or holds a terminal open."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux: an orphan is possible, nothing worse
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def stage(module: str) -> Iterator[Stage]:
    """Run a stage's body: die with dvc, print bad input as one line with exit status 1, check that nothing moved."""
    die_with_parent()
    try:
        run = Stage(module)
        yield run
        run.check_unchanged()
    except (ValueError, OSError) as error:
        if os.environ.get("VITRINE_TRACEBACK"):
            raise
        print(f"{module}: error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


def exit_now(status: int = 0) -> NoReturn:
    """End this process at once, whose outs are written: to take torch and all it loaded apart takes 1.4 seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

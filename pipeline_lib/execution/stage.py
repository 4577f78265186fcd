"""The context in which every stage runs: its params, its fingerprint, and a guard against edits while it runs.

DVC hashes a stage's params and deps after its command (treeverse/dvc#11058). If they were edited while the stage ran,
its outs would be recorded under the new state. The guard reads them at the start and fails the stage if they changed,
or if the code did, of which a part may have been imported before the edit and a part after it.
"""

import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.digest_cache import FILE as DIGESTS
from pipeline_lib.artifacts.digest_cache import stored_digests
from pipeline_lib.artifacts.digests import digest_path, digest_value
from pipeline_lib.artifacts.io import checked_before_replacing
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.execution.checkpoint_runs import remove_recorded
from pipeline_lib.execution.declared_inputs import DeclaredInputs, declared_files
from pipeline_lib.execution.durations import process_seconds, record_duration
from pipeline_lib.execution.locks import only_run
from pipeline_lib.execution.owners import LAUNCHED, STAGE_NAME, end_with_owner
from pipeline_lib.execution.stage_code import changed_files, current_code

if TYPE_CHECKING:
    from pipeline_lib.params.section import Section

# Stages that run before there is a catalogue of the present params: the one on disk may be of other data.
BEFORE_CATALOGUE = ("stages.code", "stages.frames", "stages.catalogue")

SectionT = TypeVar("SectionT", bound="Section")
ValueT = TypeVar("ValueT")


class Stage:
    """One run of a stage: the params it has read, and the code and the inputs it started with."""

    def __init__(self, module: str, root: Path = Path()) -> None:
        from pipeline_lib.params.section import load_params  # slow, and not needed to fork a stage

        self.module = module
        self._params = load_params(root / "params.yaml")
        self._root = root
        self._read: dict[str, Any] = {}
        self._code = current_code(module, root)
        self._inputs = self._look_at_inputs()

    def _look_at_inputs(self) -> DeclaredInputs | None:
        """Return the inputs as they are now; None if nothing declares them, or if another process looks at them."""
        if LAUNCHED in os.environ and os.environ.get("RANK") != "0":
            return None
        files = declared_files(self.module, sys.argv[1:], self._params, self._root)
        if files is None and STAGE_NAME in os.environ:
            print(f"{self.module}: dvc.yaml has no such command, so edits of inputs are not noticed", file=sys.stderr)
        return None if files is None else DeclaredInputs(files, self._root)

    def check_params(self) -> None:
        """Raise ValueError for a fault anywhere in params.yaml, and for settings that the catalogue cannot serve.

        A stage would otherwise find a fault of its own section only after hours of earlier stages.
        """
        # No import statement: the checks of other sections are no code of this stage, and must not be in its hash.
        all_sections = importlib.import_module("pipeline_lib.params.all_sections")
        all_sections.check_all(self._params, Path("params.yaml"))
        counts = self._root / paths.CATALOGUE / "counts.json"
        if self.module not in BEFORE_CATALOGUE and counts.is_file():
            self.check_catalogue(read_object(counts, classes=int, queries=int))

    def check_catalogue(self, counts: dict[str, Any]) -> None:
        """Raise ValueError if training needs classes or texts of which the catalogue has none."""
        requirements = importlib.import_module("pipeline_lib.params.requirements")
        requirements.check_catalogue(self._params, counts, Path("params.yaml"))

    def section(self, kind: type[SectionT]) -> SectionT:
        """Return a checked section of params.yaml; dvc.yaml must declare it (a test compares)."""
        from pipeline_lib.params.section import parse_section, pick

        self._read[kind.section] = pick(self._params, kind.section)
        return parse_section(kind, self._params)

    @overload
    def value(self, key: str, kind: type[ValueT]) -> ValueT: ...

    @overload
    def value(self, key: str, kind: object) -> Any: ...

    def value(self, key: str, kind: Any) -> Any:
        """Return one checked value of params.yaml by its dotted key; dvc.yaml must declare it."""
        from pipeline_lib.params.section import parse_value, pick

        self._read[key] = pick(self._params, key)
        return parse_value(key, kind, self._params)

    def fingerprint(self, *inputs: Path, **identity: object) -> str:
        """Return a hash of the code, the params read so far, the content of files and folders, and the keywords."""
        with stored_digests(paths.project_root() / DIGESTS) as digests:
            contents = {path.as_posix(): digest_path(path, digests.digest_file) for path in inputs}
        return digest_value([self._code, self._read, contents, identity])

    def check_unchanged(self) -> None:
        """Raise ValueError if this stage's code, the params it has read, or its inputs changed since its start."""
        from pipeline_lib.params.section import load_params, pick

        now = load_params(self._root / "params.yaml")
        changed = [key for key, value in self._read.items() if pick(now, key) != value]
        changed += changed_files(self._code, self._root)
        changed += self._inputs.changed() if self._inputs else []
        if changed:
            raise ValueError(
                f"{self.module}: {', '.join(changed)} changed while the stage ran; its outs would be recorded under "
                "the new state. Not recorded: run `dvc repro` again"
            )

    def record_duration(self) -> None:
        """Append how long this stage took to the log that `vitrine plan` reads."""
        record_duration(self.module, self._read, process_seconds(), self._root)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a stage as Ctrl-C does."""


@contextlib.contextmanager
def stage(module: str) -> Iterator[Stage]:
    """Run a stage's body: it ends with DVC, runs once at a time, and checks for edits.

    Bad input, Ctrl-C and SIGTERM are one line; the status is then 1 or 128 + the number of the signal.
    """
    try:
        end_with_owner()
        with _terminable(), _only_run(module):
            run = Stage(module)
            run.check_params()
            remove_recorded()
            with checked_before_replacing(run.check_unchanged):
                yield run
            run.check_unchanged()
            run.record_duration()
    except (ValueError, OSError) as error:
        if os.environ.get("VITRINE_TRACEBACK"):
            raise
        print(f"{module}: error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"{module}: interrupted ({number.name})", file=sys.stderr)
        raise SystemExit(128 + number) from None


def _only_run(module: str) -> contextlib.AbstractContextManager[None]:
    """Return the lock of this process's stage; of launched processes the first one writes, and has a lock of its own.

    It may outlive the stage that launched it for a moment.
    """
    if LAUNCHED not in os.environ:
        return only_run(module, sys.argv[1:])
    if os.environ.get("RANK") == "0":
        return only_run(module, [*sys.argv[1:], "in its first process"])
    return contextlib.nullcontext()


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Raise Terminated in the body on the first SIGTERM; a second one ends the process at once.

    A launched process dies of both signals without a word: the stage that launched it reports them.
    """

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if LAUNCHED in os.environ:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_now(status: int = 0) -> NoReturn:
    """End this process without clean-up, which takes 1.4 seconds once torch is imported; all outs must be written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def exit_as(status: int) -> NoReturn:
    """End this process with a status, or by the signal whose negative number it is."""
    if status < 0:
        with contextlib.suppress(OSError):  # the handler of SIGKILL cannot be set
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    exit_now(status)


def exit_with(error: SystemExit) -> NoReturn:
    """End this process as `sys.exit` does, but without clean-up."""
    if isinstance(error.code, str):
        sys.stderr.write(f"{error.code}\n")
    exit_now(error.code if isinstance(error.code, int) else int(error.code is not None))

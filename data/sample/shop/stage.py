"""What both stages of the sample share: checked params, and an output folder that is written completely or not at all.

DVC hashes code and params after a command (treeverse/dvc#11058). So the files that dvc.yaml names are hashed at the
start, and again before the output is moved into place. The sample does not import pipeline_lib, so an edit there does
not rerun it.
"""

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ruamel.yaml import YAML

PARAMS = Path("params.yaml")
PIPELINE = Path("dvc.yaml")


def read_section(name: str) -> dict[str, int]:
    """Return a section of params.yaml; raises ValueError unless every value is an integer above zero."""
    section = YAML(typ="safe").load(PARAMS.read_text(encoding="utf-8")).get(name)
    if not isinstance(section, dict):
        raise ValueError(f"{PARAMS.resolve()}: no section {name!r}; add one")
    for key, value in section.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{PARAMS.resolve()}: {name}.{key} is {value!r}; give an integer of at least 1")
    return dict(section)


@contextlib.contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `out` at the end; raises ValueError if code or params changed meanwhile."""
    before = _digest(out.name)
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    if _digest(out.name) != before:
        raise ValueError(
            f"{out}: code or params changed while the stage ran; the output is discarded, run `dvc repro` again"
        )
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)


def run_stage(name: str, make: Callable[[Path, dict[str, int], int], None]) -> None:
    """Write the folder `name` by `make(folder, section of params.yaml, number of processes)`.

    Bad input ends the process with one line.
    """
    try:
        params = read_section(name)
        with fresh_folder(Path(name)) as out:
            make(out, params, len(os.sched_getaffinity(0)))
    except (ValueError, OSError) as error:
        raise SystemExit(f"shop.{name}: error: {error}") from error


def write_line(text: str) -> None:
    """Print a line at once: a pipe would hold it back."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _digest(stage: str) -> str:
    # The deps of dvc.yaml, because worker processes import modules that the main process does not.
    deps = YAML(typ="safe").load(PIPELINE.read_text(encoding="utf-8"))["stages"][stage]["deps"]
    params = repr(sorted(read_section(stage).items())).encode()
    named = [Path(path) for path in deps]
    # A dep that is a folder is the output of another stage.
    files = [file for path in named for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    content = b"\0".join([params, *(file.read_bytes() for file in files if not file.is_dir())])
    return hashlib.sha256(content).hexdigest()

"""The frame both entries run in: checked params, a folder that appears whole or not at all, and no change underway.

DVC hashes code and params after a command (treeverse/dvc#11058); so the files that dvc.yaml names are hashed at
the start, and again at the end before anything is put in place. Nothing of the pipeline's own library is imported:
an edit there must not draw or pretrain anything again.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

PARAMS = Path("params.yaml")
PIPELINE = Path("dvc.yaml")


def read_section(name: str) -> dict[str, int]:
    """Return a section of params.yaml; ValueError unless every value is a whole number above zero."""
    section = YAML(typ="safe").load(PARAMS.read_text(encoding="utf-8")).get(name)
    if not isinstance(section, dict):
        raise ValueError(f"{PARAMS.resolve()}: no section {name!r}; add one")
    for key, value in section.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{PARAMS.resolve()}: {name}.{key} is {value!r}; give a whole number of at least 1")
    return dict(section)


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder that takes `out`'s place at the end; ValueError if code or its section moved meanwhile."""
    before = _digest(out.name)
    half = out.with_name(f".{out.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    yield half
    if _digest(out.name) != before:
        raise ValueError(f"{out}: code or params changed while it was made; not recorded, run `dvc repro` again")
    if out.exists():
        shutil.rmtree(out)
    half.rename(out)


def _digest(stage: str) -> str:
    # What dvc.yaml names: processes that a stage starts load code that it does not.
    deps = YAML(typ="safe").load(PIPELINE.read_text(encoding="utf-8"))["stages"][stage]["deps"]
    params = repr(sorted(read_section(stage).items())).encode()
    content = b"\0".join([params, *(Path(path).read_bytes() for path in deps)])
    return hashlib.sha256(content).hexdigest()

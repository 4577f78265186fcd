"""The code of each stage: the files that it can run, except those that cannot change a byte of its outs, with hashes.

The stage `code` writes one list a stage, and every other stage depends on its own list. So an edit reruns the stages
that it can affect, dvc.yaml names no source file, and DVC compares one file where it would compare dozens. The lists
have the format of `sha256sum`, which can check them.
"""

import hashlib
from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import reading
from pipeline_lib.execution.import_closure import import_closure

# Modules and packages that are in no list, with the reason why an edit cannot change an out. Whoever breaks the reason
# in an edit must take the module off this table or force the stages with `dvc repro --force`.
EXEMPT = {
    "pipeline_lib/artifacts/digest_cache.py": "a stored hash is that of the file's bytes (tested)",
    "pipeline_lib/artifacts/paths.py": "names of folders; dvc.yaml has the same ones, and a test compares",
    "pipeline_lib/artifacts/remote.py": "the bytes read from a URL are those of the local file",
    "pipeline_lib/execution/checkpoint.py": "a resumed run writes the same outs as an unbroken one (tested)",
    "pipeline_lib/execution/checkpoint_files.py": "as above: a damaged checkpoint costs epochs, not another result",
    "pipeline_lib/execution/checkpoint_runs.py": "which checkpoints stay; a run without any writes the same outs",
    "pipeline_lib/execution/declared_inputs.py": "the guard: it compares the states of files, and returns no value",
    "pipeline_lib/execution/durations.py": "a log of how long stages took, which no stage reads",
    "pipeline_lib/execution/forks.py": "how the process of a stage starts",
    "pipeline_lib/execution/forkserver.py": "how the process of a stage starts",
    "pipeline_lib/execution/import_closure.py": "it finds the files of these lists",
    "pipeline_lib/execution/launch.py": "how several processes start; their number is not part of a stage's identity",
    "pipeline_lib/execution/locks.py": "it makes a second run of a stage wait",
    "pipeline_lib/execution/meter.py": "it prints lines about progress, which no stage reads",
    "pipeline_lib/execution/owners.py": "when a process ends because another one has ended",
    "pipeline_lib/execution/parallel.py": "results come in the order of the items, whatever computes them (tested)",
    "pipeline_lib/execution/stage.py": "the guard: it reads params, compares hashes and prints errors",
    "pipeline_lib/execution/stage_code.py": "it writes and compares these lists",
    "pipeline_lib/execution/threads.py": "how threads wait, when garbage is collected, and what Ctrl-C prints",
    "pipeline_lib/training/loggers.py": "it writes curves outside the outs, which no stage reads",
    "pipeline_lib/params": "the classes check values and change none (tested); DVC tracks the values themselves",
}
# Inside an exempt package, but able to change outs.
NOT_EXEMPT = {"pipeline_lib/params/phases.py": "it merges the changes of a phase into train"}
# Byte-compiled files, which differ from machine to machine.
COMPILED = (".pyc", ".pyo")

# Path of a file -> SHA-256 of its bytes.
Code = dict[str, str]


def list_code(module: str, root: Path = Path()) -> Code:
    """Return the files that a stage's module can run and that can change its outs, sorted.

    A package's other files (templates, style sheets) count with its modules.
    """
    modules = {path.relative_to(root) for path in import_closure(module, root)}
    files = {path for path in modules if path.name != "__init__.py"}  # all of these are empty (tested)
    for folder in {path.parent for path in files}:
        files |= {
            path.relative_to(root)
            for path in (root / folder).iterdir()
            if path.is_file() and path.suffix not in (".py", *COMPILED)
        }
    return {path.as_posix(): _hash(root / path) for path in sorted(files) if _counts(path)}


def _counts(path: Path) -> bool:
    """Return whether a file can change an out."""
    names = {path.as_posix(), *(parent.as_posix() for parent in path.parents)}
    return path.as_posix() in NOT_EXEMPT or not names & EXEMPT.keys()


def _hash(path: Path) -> str:
    """Return the hash of a file, empty if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def write_code(module: str, folder: Path, root: Path = Path()) -> Code:
    """Write the list of one stage's code into `folder`, and return it."""
    code = list_code(module, root)
    lines = [f"{value}  {path}\n" for path, value in code.items()]
    (folder / paths.code_of(module).name).write_text("".join(lines), encoding="utf-8")
    return code


def current_code(module: str, root: Path = Path()) -> Code:
    """Return the code that a stage starts with: its list, or without one the files that its imports reach.

    Raises ValueError if a file has changed since the stage `code` wrote the list: DVC would record the outs of the new
    code under the old one.
    """
    file = root / paths.code_of(module)
    if not file.is_file():
        return list_code(module, root)
    code = read_list(file)
    if changed := changed_files(code, root):
        raise ValueError(f"{changed[0]} changed after the stage `code` had listed it; run `dvc repro` again")
    return code


def read_list(file: Path) -> Code:
    """Return the code in a list that `write_code` has written."""
    with reading(file):
        lines = file.read_text(encoding="utf-8").splitlines()
    return {path: value for value, _, path in (line.partition("  ") for line in lines)}


def changed_files(code: Code, root: Path = Path()) -> list[str]:
    """Return the files that no longer have their hash."""
    return [path for path, value in code.items() if _hash(root / path) != value]

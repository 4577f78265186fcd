"""The deps that dvc.yaml declares for one command, and which of their files changed since a first look at them.

DVC hashes deps after a command (treeverse/dvc#11058), so an edit while it runs would be recorded as if it was read.
Files are compared by path, size, time of modification and inode, as DVC does for its own cache of hashes. No file is
opened, and a file takes 16 bytes of memory, so a folder may have millions. Nothing is compared without a dvc.yaml.
"""

import fnmatch
import itertools
import os
import re
import shlex
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# DVC never hashes these, whatever .dvcignore says; Python writes the last while a stage runs.
NEVER_HASHED = (".dvc/", ".git/", ".hg/", "__pycache__/")
# Files that a message names, of each kind of change.
NAMED = 3
# Size, time of modification in ns, and inode.
FileState = tuple[int, int, int]


class StageFiles(NamedTuple):
    """The deps and the outs of a command, as paths relative to the project's root."""

    deps: tuple[str, ...]
    outs: tuple[str, ...]


class _Look(NamedTuple):
    """All files of the deps at one moment: a hash of each path, and one of each path with its state."""

    paths: "array[int]"
    states: "array[int]"


class DeclaredInputs:
    """The files of a command's deps at the time this was made."""

    def __init__(self, files: StageFiles, root: Path) -> None:
        self._deps, self._root = files.deps, root
        self._outs = frozenset(files.outs)
        patterns = (*NEVER_HASHED, *_read_ignored(root / ".dvcignore"))
        self._ignored = re.compile("|".join(map(fnmatch.translate, patterns)))
        self._before = {dep: self._look(dep) for dep in self._deps}

    def changed(self) -> list[str]:
        """Return what differs now, as words for a message; at most a few files of each dep."""
        return [words for dep in self._deps for words in self._differences(dep)]

    def _look(self, dep: str) -> _Look:
        paths, states = array("q"), array("q")
        for path, state in self._files(dep):
            paths.append(hash(path))
            states.append(hash((path, *state)))
        return _Look(paths, states)

    def _differences(self, dep: str) -> Iterator[str]:
        before, now = self._before[dep], self._look(dep)
        if len(before.states) == len(now.states) and sum(before.states) == sum(now.states):
            return
        paths, states = set(before.paths), set(before.states)
        differing = [path for path, state in self._files(dep) if hash((path, *state)) not in states]
        named = [f"{_printable(path)}{'' if hash(path) in paths else ' (new)'}" for path in sorted(differing)[:NAMED]]
        yield from named
        if len(differing) > NAMED:
            yield f"{len(differing) - NAMED:,} more files of {_printable(dep)}"
        if removed := len(paths - set(now.paths)):
            count = f"{removed:,} files removed" if _is_folder(self._root / dep) else "removed"
            yield f"{_printable(dep)} ({count})"

    def _files(self, dep: str) -> Iterator[tuple[str, FileState]]:
        """Yield path, size, time in ns and inode of each file, also in linked folders, which DVC does not look into."""
        start = self._root / dep
        if not _is_folder(start):
            yield from self._state(dep, start)
            return
        pending = [(str(start), dep, frozenset({os.path.realpath(start)}))]
        while pending:
            folder, name, above = pending.pop()
            for entry in _entries(folder):
                path, is_folder = f"{name}/{entry.name}", _is_folder(entry)
                if path in self._outs or self._is_ignored(entry.name, is_folder):
                    continue
                if not is_folder:
                    yield from self._state(path, entry)
                elif not entry.is_symlink():
                    pending.append((entry.path, path, above))
                elif (target := os.path.realpath(entry.path)) not in above:  # a link to a folder above it has no end
                    pending.append((entry.path, path, above | {target}))

    def _is_ignored(self, name: str, is_folder: bool) -> bool:
        return bool(self._ignored.match(name) or (is_folder and self._ignored.match(f"{name}/")))

    @staticmethod
    def _state(path: str, file: Path | os.DirEntry[str]) -> Iterator[tuple[str, FileState]]:
        try:
            found = file.stat()
        except OSError:  # a broken link, one to itself, or a file that is being replaced; a stage that reads it says so
            return
        yield path, file_state(found)


def file_state(about: os.stat_result) -> FileState:
    """Return what tells a file from one that was edited or took its place, without reading it."""
    return about.st_size, about.st_mtime_ns, about.st_ino


def _is_folder(path: Path | os.DirEntry[str]) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder, none if it has just been removed or cannot be read."""
    try:
        found = os.scandir(folder)
    except OSError:
        return
    with found:
        yield from found


def _printable(path: str) -> str:
    """Return a path as one line of text that any encoding can write."""
    return re.sub(r"[\x00-\x1f]", "?", os.fsencode(path).decode(errors="backslashreplace"))


def _read_ignored(file: Path) -> list[str]:
    """Return the patterns of names in .dvcignore, none if a line with `!` takes some of them back.

    A pattern with a slash inside is left out. The files of what is left out are compared.
    """
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    if any(line.startswith("!") for line in lines):
        return []
    names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [name for name in names if "/" not in name.removesuffix("/")]


def declared_files(module: str, arguments: Sequence[str], params: Mapping[str, Any], root: Path) -> StageFiles | None:
    """Return what dvc.yaml declares for `python -m MODULE ARGUMENTS`; None if no stage has this command.

    Several members of a matrix may share a command: the result has the paths of all of them. Raises ValueError if a
    path names a key that params.yaml lacks.
    """
    from pipeline_lib.params.section import load_params  # slow, and not needed to fork a stage

    file = root / "dvc.yaml"
    stages = load_params(file).get("stages") or {} if file.is_file() else {}
    found = [
        (_paths(stage.get("deps", []), values), _paths(_all_outs(stage), values))
        for stage in stages.values()
        if module in str(stage.get("cmd"))
        for values in _members(stage, dict(params))
        if _arguments(_fill(str(stage["cmd"]), values), module) == list(arguments)
    ]
    if not found:
        return None
    deps, outs = ({path: None for member in members for path in member} for members in zip(*found, strict=True))
    return StageFiles(tuple(deps), tuple(outs))


def _all_outs(stage: Mapping[str, Any]) -> list[Any]:
    return [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]


def _members(stage: Mapping[str, Any], params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the values for `${...}` of each member of a stage's matrix."""
    matrix = stage.get("matrix", {})
    lists = [_value(one[2:-1], params) if isinstance(one, str) else one for one in matrix.values()]
    for values in itertools.product(*lists):
        yield params | {"item": dict(zip(matrix, values, strict=True))}


def _value(key: str, values: dict[str, Any]) -> Any:
    """Return the value of what stands inside `${...}`: dotted keys, and numbers of list entries in brackets."""
    from pipeline_lib.params.section import pick

    name, *places = re.split(r"[\[\]]+", key.strip().rstrip("]"))
    value = pick(values, name)
    for place in places:
        value = value[int(place)]
    return value


def _fill(text: str, values: dict[str, Any]) -> str:
    return re.sub(r"\$\{([^}]*)\}", lambda match: str(_value(match[1], values)), text)


def _paths(declared: list[Any], values: dict[str, Any]) -> list[str]:
    """Return the filled-in paths of a list of deps or outs; what has a URL is no file here."""
    names = [one if isinstance(one, str) else next(iter(one)) for one in declared]
    return [os.path.normpath(path) for path in (_fill(name, values) for name in names) if "://" not in path]


def _arguments(command: str, module: str) -> list[str] | None:
    """Return the words after `-m MODULE` of a command line, None if it runs another module."""
    words = shlex.split(command)
    for place, pair in enumerate(itertools.pairwise(words)):
        if pair == ("-m", module):
            return words[place + 2 :]
    return None

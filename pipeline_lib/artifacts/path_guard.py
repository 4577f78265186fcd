"""Decides which files a stage may read: those inside the folder that DVC hashes for the stage.

A file outside could bring other files of the machine into the artefacts, and no stage would notice an edit of it. With
`cache.type symlink` every tracked file is a link into the cache, which `cache.dir` may put anywhere, and a large
image folder is often a link to another folder of the project. A link to anywhere else is refused.
"""

import configparser
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline_lib.artifacts.read import damaged, reading

# `..`, absolute paths, those of Windows too, and control characters.
UNSAFE = re.compile(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:[/\\]|[\x00-\x1f]")


class RefusedPathError(ValueError):
    """A file that no stage may read; the message is the reason, without the place that a link leads to."""


def is_inner(name: str) -> bool:
    r"""Return whether a name is a path below a folder: not absolute, and without `..`.

    >>> is_inner("images/a..b.jpg"), is_inner("../a.jpg"), is_inner("/a.jpg"), is_inner("a\\..\\b.jpg")
    (True, False, False, False)
    """
    return UNSAFE.search(name) is None


def real_path(root: Path, name: str, linked: Sequence[Path]) -> str:
    """Return the resolved path of a file by its name below `root`; nothing is opened. Folders are resolved paths.

    Raises RefusedPathError if the name leads out of `root`, or a link out of both `root` and the folders `linked`.
    """
    if not is_inner(name):
        raise RefusedPathError("unsafe path")
    real = os.path.realpath(root / name)
    if not any(is_inside(real, folder) for folder in (root, *linked)):
        raise RefusedPathError("link leaves the data root")  # where it leads differs between machines
    return real


def inner_file(root: Path, name: str) -> Path:
    """Return a file of the data root by its name; ValueError if `real_path` refuses it. The file need not exist."""
    try:
        real_path(root.resolve(), name, link_targets())
    except RefusedPathError as refused:
        raise ValueError(f"{root / name}: {refused}, so it is not read; copy the file into {root}") from None
    return root / name


def check_hashed(root: Path, path: Path, what: str, way: str = "put it there") -> None:
    """Raise ValueError, which begins with `what`, unless DVC hashes a file, or all of a folder, with folder `root`.

    It must lie below `root`, without a linked folder on the way or in it, because DVC does not look into these. A link
    to a file must stay in `root`, the project or DVC's cache. What does not exist passes. `way` is what to do about a
    path outside.
    """
    below = os.path.relpath(os.path.abspath(path), os.path.abspath(root))  # noqa: PTH100 - links are compared below
    if not is_inner(below):
        raise ValueError(f"{what}: outside {root}, so no stage would notice an edit of it; {way}")
    allowed = (root.resolve(), *link_targets())
    for part in _ways(root, Path(below)):
        if part.is_symlink() and part.is_dir():
            raise ValueError(f"{what}: {part} is a link to a folder, and DVC does not look into it; copy the folder")
        if not any(is_inside(os.path.realpath(part), folder) for folder in allowed):
            raise ValueError(f"{what}: {part} is a link out of the project, so it is not read; copy the file")


def check_beside(path: Path, names: Iterable[object]) -> None:
    """Raise ValueError unless the names that a table or an index has are those of files in its own folder."""
    for name in names:
        if not isinstance(name, str) or not is_inner(name) or "/" in name:
            raise damaged(path, f"it has {name!r}, which is no name of a file beside it")


def linked_folders(root: Path, names: Iterable[str]) -> list[str]:
    """Return the links to folders that are in `root` or on the way to the files `names` below it, sorted."""
    here = {entry.name for entry in os.scandir(root) if entry.is_symlink() and entry.is_dir()}
    folders = {Path(name.rpartition("/")[0]) for name in names if is_inner(name)}
    ways = {way.as_posix() for folder in folders for way in (folder, *folder.parents) if way.parts}
    return sorted(here | {way for way in ways if (root / way).is_symlink()})


def _ways(root: Path, below: Path) -> Iterator[Path]:
    """Yield the folders on the way to a path below `root`, the path, and what is in it."""
    path = root
    for part in below.parts:
        path /= part
        yield path
    for folder, folders, files in os.walk(path):
        yield from (Path(folder, name) for name in sorted((*folders, *files)))


def link_targets() -> tuple[Path, ...]:
    """Return the resolved folders that a link may lead to; none outside a DVC project."""
    project = _project()
    if project is None:
        return ()
    caches = [project / ".dvc" / "cache", *_configured_caches(project)]
    return tuple(dict.fromkeys(folder.resolve() for folder in (project, *caches)))


def is_inside(real: str, folder: Path) -> bool:
    """Return whether a resolved path is a folder or lies in it."""
    return real == str(folder) or real.startswith(str(folder).rstrip(os.sep) + os.sep)


def _project() -> Path | None:
    if os.environ.get("DVC_ROOT"):
        return Path(os.environ["DVC_ROOT"])
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), None)


def _configured_caches(project: Path) -> Iterator[Path]:
    """Yield `cache.dir` of every configuration file of DVC; a relative path starts at the file's folder."""
    settings = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    folders = (
        Path(os.environ.get("DVC_SYSTEM_CONFIG_DIR") or "/etc/xdg/dvc"),
        Path(os.environ.get("DVC_GLOBAL_CONFIG_DIR") or Path(settings, "dvc")),
        project / ".dvc",
    )
    for file in (folder / name for folder in folders for name in ("config", "config.local")):
        if file.is_file():
            parser = configparser.ConfigParser(interpolation=None, strict=False)
            with reading(file):
                parser.read_string("\n".join(line.strip() for line in file.read_text(encoding="utf-8").splitlines()))
            value = parser.get("cache", "dir", fallback="").strip("\"' ")
            if value:
                yield file.parent / Path(value).expanduser()

"""Where links of the data root may lead: into the project, and into DVC's cache.

With `cache.type symlink` every tracked photo is a link into the cache, which `cache.dir` may put anywhere, and a large
image folder is often a link to another folder of the project. A link to anywhere else is refused, so that a downloaded
catalogue cannot bring other files of the machine into shards.
"""

import configparser
import os
from collections.abc import Iterator
from pathlib import Path


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
            parser.read_string("\n".join(line.strip() for line in file.read_text(encoding="utf-8").splitlines()))
            value = parser.get("cache", "dir", fallback="").strip("\"' ")
            if value:
                yield file.parent / Path(value).expanduser()

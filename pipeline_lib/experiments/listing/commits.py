"""Files of many commits through two git processes, which is why a list of experiments needs no DVC.

DVC stores an experiment as a commit below refs/exps; params, metrics and intervals are files of that commit.
"""

import re
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from pipeline_lib.experiments.revisions import EXPERIMENT_REF


class Commit(NamedTuple):
    """An experiment: its name, its commit, the commit that it started from, and the seconds of its date."""

    name: str
    commit: str
    parent: str
    date: int


def git(*words: str, stdin: str | None = None) -> bytes:
    """Return what a git command prints; ValueError in one line if it fails."""
    data = None if stdin is None else stdin.encode()
    done = subprocess.run(["git", *words], input=data, capture_output=True, check=False)
    if done.returncode:
        raise ValueError(f"git {words[0]}: {' '.join(done.stderr.decode(errors='replace').split())}")
    return done.stdout


def experiment_commits() -> list[Commit]:
    """Return all experiments of the repository."""
    form = "%(refname) %(objectname) %(committerdate:unix)"
    found = []
    for line in git("for-each-ref", f"--format={form}", "refs/exps").decode().splitlines():
        ref, commit, date = line.rsplit(" ", 2)
        if match := re.fullmatch(EXPERIMENT_REF, ref):
            parent = "".join(ref.split("/")[2:4])
            found.append(Commit(match[1], commit, parent, int(date)))
    return found


def read_files(commits: Iterable[str], paths: Iterable[str]) -> dict[tuple[str, str], bytes]:
    """Return (commit, path) -> content of the files that the commits have; paths are relative to the working folder."""
    wanted = [(commit, path) for commit in dict.fromkeys(commits) for path in paths]
    prefix = git("rev-parse", "--show-prefix").decode().strip()
    asked = "".join(f"{commit}:{prefix}{path}\n" for commit, path in wanted)
    stream, found = git("cat-file", "--batch", stdin=asked), {}
    place = 0
    for key in wanted:
        end = stream.index(b"\n", place)
        head, place = stream[place:end].decode(errors="replace"), end + 1
        if head.endswith(("missing", "ambiguous")):
            continue
        size = int(head.rsplit(" ", 1)[1])
        found[key] = stream[place : place + size]
        place += size + 1
    return found

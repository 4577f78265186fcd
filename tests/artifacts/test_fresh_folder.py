"""The folder that a process writes before it becomes an out: its own, and gone with the next start after a kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.artifacts.io import fresh_folder, replaced_folder

ROOT = Path(__file__).parents[2]
# Writes a file into the folder of an out, says so, and waits.
WAITING = """
import sys
from pathlib import Path
from pipeline_lib.artifacts.io import fresh_folder
with fresh_folder(Path(sys.argv[1])) as out:
    (out / "theirs").touch()
    print(out, flush=True)
    sys.stdin.readline()
"""


def start(out: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(out)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return process, Path(process.stdout.readline().strip())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "train" / "0.5"


def test_two_processes_write_into_folders_of_their_own(out: Path) -> None:
    """Also where nothing locks them out: each out is complete, and the last one stays."""
    other, theirs = start(out)
    with fresh_folder(out) as ours:
        assert ours != theirs and (theirs / "theirs").exists()
        (ours / "ours").touch()
        other.communicate("\n", timeout=60)
        assert [path.name for path in out.iterdir()] == ["theirs"]
    assert [path.name for path in out.iterdir()] == ["ours"]
    assert [path.name for path in out.parent.iterdir()] == ["0.5"]


def test_the_folder_of_a_killed_process_goes_with_the_next_start(out: Path) -> None:
    killed, theirs = start(out)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    others = [out.parent / name for name in (".0.99999999.part", ".0.5.part", ".0.5.x.part", "0.5.7.part")]
    for path in others:
        path.mkdir()
    own = out.parent / f".0.5.{os.getpid()}.part"  # of an earlier process with this one's number
    (own / "old").mkdir(parents=True)
    with fresh_folder(out) as part:
        assert part == own and not list(part.iterdir())
        assert not theirs.exists() and all(path.exists() for path in others), "other outs are no business of this one"


def test_an_error_keeps_the_out_before(out: Path) -> None:
    with fresh_folder(out) as part:
        (part / "old").touch()
    with pytest.raises(RuntimeError), fresh_folder(out) as part:
        raise RuntimeError
    assert [path.name for path in out.iterdir()] == ["old"]


@pytest.mark.parametrize("name", ["0", "0.5", ".hidden", "a b", "shards-2"])
def test_the_out_of_a_part_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    with fresh_folder(tmp_path / name) as part:
        assert replaced_folder(part) == tmp_path / name == replaced_folder(tmp_path / name)

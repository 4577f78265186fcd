"""The stage's side of the fork server: it outlives no owner, and uses no server of another user."""

import os
import subprocess
import sys
from multiprocessing.connection import Listener, Pipe
from pathlib import Path

import pytest
from forked import process_of, run_in_fork

from pipeline_lib.execution import forkserver, owners
from pipeline_lib.execution.forkserver import SWITCH, _find_server, _wait_for, run_stage, secure_folder

ROOT = Path(__file__).parents[2]


class Orphaned(BaseException):
    """Stands for the end of this process."""


@pytest.fixture
def dead_owner(monkeypatch):
    """This process follows an owner that has ended, and no thread has seen it yet."""

    def end():
        raise Orphaned

    monkeypatch.setattr(owners, "_end_orphan", end)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    monkeypatch.setitem(owners._followed, os.getpid(), child)
    handlers = {}
    monkeypatch.setattr(forkserver.signal, "signal", lambda number, handler: handlers.setdefault(number, handler))


def test_a_client_whose_server_ended_with_its_owner_ends_without_a_word(dead_owner):
    """The message would advise to run `dvc repro` again, to whoever took over the terminal."""
    ours, theirs = Pipe()
    theirs.close()
    with pytest.raises(Orphaned):
        _wait_for(ours, os.getpid(), "stages.train")


def test_a_client_whose_server_was_killed_alone_says_so(monkeypatch):
    monkeypatch.setattr(forkserver.signal, "signal", lambda *_: None)
    monkeypatch.setitem(owners._followed, os.getpid(), os.getppid())
    ours, theirs = Pipe()
    theirs.close()
    with pytest.raises(SystemExit, match="stages.train: error: the fork server was killed; run `dvc repro` again"):
        _wait_for(ours, os.getpid(), "stages.train")


def test_a_stage_does_not_run_by_itself_after_its_owner_and_server_ended(dead_owner, monkeypatch):
    server, other = Pipe()
    other.close()
    monkeypatch.setattr(forkserver, "is_enabled", lambda: True)
    monkeypatch.setattr(forkserver, "end_with_owner", lambda: None)
    monkeypatch.setattr(forkserver, "_find_server", lambda _: (server, "the fork server did not start"))
    ran = []
    with pytest.raises(Orphaned):
        run_stage("stages.train", lambda: ran.append(True))
    assert ran == []


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A socket that listens, whose address SWITCH has."""
    folder = tmp_path / "server"
    folder.mkdir(mode=0o700)
    address = folder / "socket"
    monkeypatch.setenv(SWITCH, str(address))
    with Listener(str(address), "AF_UNIX"):
        yield address


def test_a_server_of_this_user_in_a_folder_of_this_user_is_used(shared):
    server, _ = _find_server(starts=False)
    assert server is not None
    server.close()


def as_if_owned_by(monkeypatch, other: Path) -> None:
    """Let `stat` say that a path is another user's."""
    real = Path.stat

    def stat(path, **options):
        about = real(path, **options)
        if path == other:
            values = list(about)
            values[4] += 1
            return os.stat_result(values)
        return about

    monkeypatch.setattr(Path, "stat", stat)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o720])
def test_a_folder_in_which_others_may_write_is_not_used(shared, mode):
    """Whoever can write there can put a socket of their own in its place, and would get the stage's environment."""
    shared.parent.chmod(mode)
    server, reason = _find_server(starts=False)
    assert server is None
    assert reason == (
        f"other users may write in {shared.parent}, the folder of the fork server; run `chmod go-w {shared.parent}`"
    )


def test_a_socket_or_a_folder_of_another_user_is_not_used(shared, monkeypatch):
    for path, reason in (
        (shared, f"the fork server at {shared} belongs to another user"),
        (shared.parent, f"{shared.parent}, the folder of the fork server, belongs to another user"),
    ):
        with monkeypatch.context() as patch:
            as_if_owned_by(patch, path)
            assert _find_server(starts=False) == (None, reason)


def test_the_folder_of_another_user_gets_no_server(tmp_path, monkeypatch):
    folder = tmp_path / "vitrine"
    folder.mkdir()
    assert secure_folder(folder) is None
    as_if_owned_by(monkeypatch, folder)
    assert secure_folder(folder) == f"{folder} is not a folder of this user, so there is no fork server"


def test_a_server_has_no_threads_of_a_library_that_holds_locks(fork_server, tmp_path):
    """A fork takes over a lock that another thread holds, but not the thread; those of polars have names."""
    (tmp_path / "nothing.py").write_text("def main():\n    pass\n", encoding="utf-8")
    run_in_fork(fork_server, "nothing", ["nothing"], tmp_path, dict(os.environ), [str(tmp_path)])  # after its imports
    process = process_of(fork_server)
    names = {Path(f"/proc/{process.pid}/task/{one.id}/comm").read_text() for one in process.threads()}
    assert names == {Path(f"/proc/{process.pid}/comm").read_text()}


def test_the_imports_of_a_server_wait_for_no_garbage_collection_and_its_forks_collect(fork_server, tmp_path):
    state = "gc.isenabled(), gc.get_stats()[2]['collections'], gc.get_freeze_count()"
    report = f"import gc\n\n\ndef main():\n    print({state})\n"
    (tmp_path / "collected.py").write_text(report, encoding="utf-8")
    ended = run_in_fork(fork_server, "collected", ["collected"], tmp_path, dict(os.environ), [str(tmp_path)])
    enabled, whole_collections, frozen = ended.stdout.split()
    assert (enabled, whole_collections) == ("True", "0")
    assert int(frozen) > 100_000  # the objects of the libraries, which no fork scans


def test_a_client_does_not_import_the_libraries_that_its_fork_imports():
    sources = {path.stem: path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("stages/*.py"))}
    forked = [name for name, source in sources.items() if "run_stage(" in source]
    assert {"embed", "ensemble", "report", "train"} <= set(forked)
    for name in forked:
        code = f"import sys, stages.{name}; print([one for one in ('torch', 'polars', 'numpy') if one in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n", name

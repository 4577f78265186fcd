"""Kills stages, DVC, servers and ranks at random moments, and looks at what is left and what the next run makes.

    python bench/kills.py --kills 200 --interrupts 60
    python bench/kills.py --quick

One small project has work for every stage of dvc.yaml (`kill_project`). In each trial a process is killed at a moment
that is uniform over the command's time. Within 10 s no process of the project may be left. Then the same command runs
again to its end: its outs must have the bytes of an undisturbed run, and no lock and no part folder may remain. A stage
alone does what `dvc repro` would do with it, and takes a tenth of the time; a share of the trials runs DVC itself. The
exit status is 1 if anything is left or differs.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from kill_kinds import Kind, is_stage_alone, kinds
from kill_project import REPO, make_project, make_towers
from results import RESULTS, machine, put_section

from pipeline_lib.artifacts.digests import digest_path
from pipeline_lib.execution.forkserver import SWITCH
from pipeline_lib.execution.locks import FOLDER as LOCKS

TITLE = "Kills"
GRACE_SECONDS = 10.0
LIMIT_SECONDS = 600.0
SERVER_SECONDS = 4.0


def _let_interrupts_in() -> None:
    """Let a child react to Ctrl-C, which a shell ignores for what it runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Row:
    """What happened in the trials of one kind."""

    kills: int = 0
    early: int = 0  # trials without a kill, because the process was not there yet, or no more
    left: int = 0
    others: int = 0
    leftovers: int = 0
    slowest: float = 0.0
    notes: list[str] = field(default_factory=list)


class Bench:
    """The project, its server, and the durations and bytes of undisturbed runs."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder, self.server = folder.resolve(), server
        self.seconds: dict[tuple[object, ...], float] = {}
        self.expected: dict[tuple[object, ...], list[str]] = {}
        self.branch = self._git("branch", "--show-current").strip()

    def environment(self, kind: Kind) -> dict[str, str]:
        """Return the environment of a command: the project's code and the shared server, unless the kind has others."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("DVC", "VITRINE"))}
        own = {"PYTHONPATH": f"{self.folder}{os.pathsep}{REPO / 'tests/support'}", SWITCH: str(self.server)}
        return inherited | own | {"DVC_NO_ANALYTICS": "1"} | kind.variables

    def start(self, kind: Kind, stderr: int) -> subprocess.Popen[str]:
        """Start a command as the leader of a process group."""
        return subprocess.Popen(
            kind.command, cwd=self.folder, env=self.environment(kind), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=stderr, text=True, start_new_session=True, preexec_fn=_let_interrupts_in,
        )  # fmt: skip

    def run(self, kind: Kind) -> str | None:
        """Run a command to its end; return its error if it fails."""
        self.clear(kind)
        start = time.monotonic()
        process = self.start(kind, subprocess.PIPE)
        if not kind.ends:
            time.sleep(SERVER_SECONDS)
            process.kill()
        stderr = process.communicate(timeout=LIMIT_SECONDS)[1]
        self.seconds.setdefault(kind.key, time.monotonic() - start)
        return stderr.strip()[-300:] if process.returncode and kind.ends else None

    def _git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.folder, check=False, capture_output=True, text=True)
        return done.stdout

    def measure(self, kind: Kind) -> None:
        """Run a kind undisturbed, unless that was done: its duration and the bytes of its outs."""
        if kind.key in self.seconds:
            return
        if error := self.run(kind):
            raise SystemExit(f"{kind.name}: fails undisturbed: {error}")
        self.expected.setdefault(kind.outs, self.bytes_of(kind))

    @contextlib.contextmanager
    def restored(self, kind: Kind) -> Iterator[None]:
        """Put the outs back after the runs of a launcher, whose processes draw their own dropout."""
        if not kind.is_launched:
            yield
            return
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as name:
            for number, path in enumerate(kind.paths):
                shutil.copytree(self.folder / path, Path(name, str(number)))
            yield
            for number, path in enumerate(kind.paths):
                shutil.rmtree(self.folder / path)
                shutil.copytree(Path(name, str(number)), self.folder / path)

    def clear(self, kind: Kind) -> None:
        """Remove what would make a command do nothing: checkpoints of finished runs, and what `keep` made."""
        for path in self.folder.glob(".ckpt/*/DONE"):
            shutil.rmtree(path.parent)
        if "keep" in kind.command:
            shutil.rmtree(self.folder / kind.paths[0], ignore_errors=True)

    def bytes_of(self, kind: Kind) -> list[str]:
        """Return the hashes of what a command writes."""
        return [digest_path(self.folder / path) for path in kind.paths]

    def processes(self) -> list[psutil.Process]:
        """Return the processes that run in the project, without DVC's own helpers."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                inside = Path(process.cwd()).is_relative_to(self.folder) and process.status() != psutil.STATUS_ZOMBIE
                if inside and process.pid != os.getpid() and "daemon" not in process.cmdline():
                    found.append(process)
        return found

    def leftovers(self) -> list[str]:
        """Return the locks and part folders of the project, and the folders of launchers."""
        found = [*self.folder.glob("data/**/.*.part"), *(self.folder / LOCKS).glob("*")]
        return [path.name for path in (*found, *Path(tempfile.gettempdir()).glob("vitrine-launch-*"))]

    def trial(self, kind: Kind, row: Row, draw: random.Random) -> None:
        """Kill one run of a command, wait, run it again, and add what was wrong to the row."""
        self.clear(kind)
        process = self.start(kind, subprocess.PIPE if kind.number == signal.SIGINT else subprocess.DEVNULL)
        moment = draw.random() * self.seconds[kind.key]
        time.sleep(moment)
        was_there = self.kill(kind, process)
        row.kills += was_there
        row.early += not was_there
        start = time.monotonic()
        while (left := self.processes()) and time.monotonic() < start + GRACE_SECONDS:
            time.sleep(0.05)
        row.slowest = max(row.slowest, time.monotonic() - start)
        if left:
            row.left += 1
            row.notes.append(f"left at {moment:.2f} s: {[' '.join(one.cmdline())[:80] for one in left]}")
            for one in left:
                one.kill()
        printed = process.communicate()[1] or ""
        if "Traceback" in printed:
            row.notes.append(f"a page at {moment:.2f} s: {printed.strip()[-200:]}")
        self.repeat(kind, row, moment)

    def kill(self, kind: Kind, process: subprocess.Popen[str]) -> bool:
        """Send the signal to the victim; return False if there is none, because the command has ended."""
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            victim = kind.victim(psutil.Process(process.pid)) if process.poll() is None else None
            if victim is None:
                return False
            os.killpg(victim.pid, kind.number) if kind.group else victim.send_signal(kind.number)
            return True
        return False

    def repeat(self, kind: Kind, row: Row, moment: float) -> None:
        """Run the command again and compare."""
        if "exp" in kind.command:  # docs/limits.md says that DVC leaves git on a detached HEAD
            self._git("checkout", "-q", "-f", self.branch)
        # A kill of DVC may leave its list of locks empty, as docs/limits.md says.
        if (lock := self.folder / ".dvc/tmp/rwlock").is_file() and not lock.read_bytes().strip():
            lock.unlink()
        error = self.run(kind)
        if error or self.bytes_of(kind) != self.expected[kind.outs]:
            row.others += 1
            row.notes.append(f"after a kill at {moment:.2f} s: {error or 'other bytes'}")
        if found := self.leftovers():
            row.leftovers += 1
            row.notes.append(f"after a kill at {moment:.2f} s: {found}")


def table(rows: dict[str, Row]) -> str:
    """Return the Markdown table, with a row of totals."""
    lines = [
        "| kind | kills | trials without | left processes | other bytes | leftovers | last process ended, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = (row.kills, row.early, row.left, row.others, row.leftovers)
        lines.append(f"| {name} | {' | '.join(map(str, cells))} | {row.slowest:.1f} |")
    sums = [
        sum(getattr(row, key) for row in rows.values()) for key in ("kills", "early", "left", "others", "leftovers")
    ]
    slowest = max((row.slowest for row in rows.values()), default=0.0)
    return "\n".join([*lines, f"| **all** | {' | '.join(map(str, sums))} | {slowest:.1f} |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--interrupts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a kill and a Ctrl-C of a handful of kinds")
    parser.add_argument("--only", default="", help="kinds whose name has this text")
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after this time")
    parser.add_argument("--project", type=Path, help="a project that an earlier run has made")
    options = parser.parse_args()
    random.seed(options.seed)
    os.environ["OMP_NUM_THREADS"] = "1"  # sums of another number of threads have other last bits
    with tempfile.TemporaryDirectory(prefix="kills-") as name, fork_server(Path(name) / "server.socket") as server:
        folder = options.project or make_project(Path(name) / "project", *make_towers(Path(name)), server).folder
        rows = run_trials(Bench(folder, server), options)
    text = table(rows)
    print(text, *(f"{name}: {note}" for name, row in rows.items() for note in row.notes), sep="\n")
    if not options.quick and not options.only:
        about = (
            f"SIGKILL and Ctrl-C at random moments (seed {options.seed}); then the same command again to its end. "
            "`trials without` found no such process at that moment."
        )
        section = f"## {TITLE}\n\n{about}\n\n{text}\n\nMachine: {machine()}.\n"
        RESULTS.write_text(put_section(RESULTS.read_text(encoding="utf-8"), TITLE, section), encoding="utf-8")
    sys.exit(any(row.notes for row in rows.values()))


def run_trials(bench: Bench, options: argparse.Namespace) -> dict[str, Row]:
    """Run the trials in turns over the kinds, stages alone four times in a turn; return the rows of the table."""
    rows: dict[str, Row] = {}
    end = time.monotonic() + options.minutes * 60
    for chosen, wanted in zip(kinds(bench.folder), (options.kills, options.interrupts), strict=True):
        chosen = [kind for kind in chosen if options.only in kind.name]
        if options.quick:
            chosen, wanted = random.sample(chosen, 5), 5
        done = 0
        while done < wanted and chosen:
            turn = [kind for kind in chosen for _ in range(4 if is_stage_alone(kind) else 1)]
            for kind in random.sample(turn, len(turn)):
                if done >= wanted or time.monotonic() > end:
                    break
                row = rows.setdefault(kind.name, Row())
                before = row.kills
                with bench.restored(kind):
                    bench.measure(kind)
                    bench.trial(kind, row, random.Random(random.random()))
                done += row.kills - before
                print(f"{kind.name}: {vars(row)}", file=sys.stderr, flush=True)
            if time.monotonic() > end:
                break
    return rows


@contextlib.contextmanager
def fork_server(address: Path) -> Iterator[Path]:
    """Start a fork server for the stages that are killed, and yield its address."""
    command = [sys.executable, "-m", "pipeline_lib.execution.forkserver", str(address), str(os.getpid())]
    server = subprocess.Popen(command, cwd=REPO, preexec_fn=_let_interrupts_in)
    try:
        while not address.exists():
            if server.poll() is not None:
                raise SystemExit(f"the fork server ended with {server.returncode}")
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()

"""Times interleaved repetitions of two sides, and writes the results with the machine into bench/RESULTS.md.

Each script owns one section of that file and replaces it; the sections of other scripts do not change.
"""

import gc
import importlib.metadata
import os
import platform
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
OLDER = "195a728"  # the revision that whole builds are compared with
HEAD = "# What `make bench` measured\n\nEach section is by a script of this folder, which describes what it compares.\n"
PACKAGES = ("torch", "timm", "open_clip_torch", "transformers", "pillow", "numpy", "faiss-cpu")


@dataclass(frozen=True)
class Ratio:
    """One comparison: the values of both sides in each repetition, and their ratio."""

    what: str
    unit: str
    ours: Sequence[float]
    peer: Sequence[float]
    goal: str
    # True for seconds.
    lower_is_better: bool = False

    def ratios(self) -> list[float]:
        """Return in each repetition how many times better ours was."""
        pairs = zip(self.ours, self.peer, strict=True)
        return [peer / own if self.lower_is_better else own / peer for own, peer in pairs]

    def row(self) -> str:
        """Return the row of the Markdown table."""
        cells = [spread(values) for values in (self.ours, self.peer, self.ratios())]
        return f"| {self.what} | {self.unit} | {cells[0]} | {cells[1]} | {cells[2]} | {self.goal} |"


def spread(values: Sequence[float]) -> str:
    """Return minimum, median and maximum to three digits."""
    return " / ".join(f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in (
        min(values), statistics.median(values), max(values)))  # fmt: skip


def interleaved(repetitions: int, *sides: Callable[[], float]) -> list[list[float]]:
    """Run the sides in turn, several times, in reverse order every second time; return the values of each side."""
    values: list[list[float]] = [[] for _ in sides]
    for number in range(repetitions):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            values[side].append(sides[side]())
    return values


def machine() -> str:
    """Return processor, memory, system and library versions, without names of the host, users or paths."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.is_file() else []
    processor = names[0] if names else platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return (
        f"{processor}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()}, load "
        f"{os.getloadavg()[0]:.1f} at the end; Python {platform.python_version()}, {versions}"
    )


def report(title: str, about: str, ratios: Sequence[Ratio], quick: bool) -> None:
    """Print the section and write it into RESULTS.md; a quick run only prints."""
    rows = [
        "| what | unit | ours: min / median / max | peer | ratio | goal |",
        "|---|---|---|---|---|---|",
        *(ratio.row() for ratio in ratios),
    ]
    text = f"## {title}\n\n{about}\n\n" + "\n".join(rows) + f"\n\nMachine: {machine()}.\n"
    print(text, flush=True)
    if quick:
        print("--quick: too short for a result, so nothing is written")
        return
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else HEAD
    RESULTS.write_text(put_section(before, title, text), encoding="utf-8")


def put_section(before: str, title: str, text: str) -> str:
    """Return the text with one section replaced, or added at its end.

    >>> put_section("# a\\n\\n## b\\n\\nold\\n\\n## c\\n\\nsame\\n", "b", "## b\\n\\nnew\\n")
    '# a\\n\\n## b\\n\\nnew\\n\\n## c\\n\\nsame\\n'
    """
    parts = re.split(r"(?m)^(?=## )", before)
    place = next((number for number, part in enumerate(parts) if part.startswith(f"## {title}\n")), None)
    if place is None:
        return before.rstrip("\n") + "\n\n" + text
    parts[place] = text if place + 1 == len(parts) else text + "\n"
    return "".join(parts)


def reset_peak() -> None:
    """Let `peak_bytes` start again from what is resident now, so that it does not have what was built before."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Return the highest resident memory of this process; ru_maxrss has that of the process that started it, too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

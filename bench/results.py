"""Times interleaved repetitions of two sides, and writes what they say into bench/RESULTS.md with the machine.

Each script owns one section of that file and replaces it whole; figures of other scripts stay.
"""

import importlib.metadata
import os
import platform
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = "# What `make bench` measured\n\nEach section is by one script of this folder, which says what it compares.\n"
PACKAGES = ("torch", "timm", "open_clip_torch", "transformers", "pillow", "numpy", "faiss-cpu")


@dataclass(frozen=True)
class Ratio:
    """One comparison: what we did and what the peer did in each repetition, and by how much we were ahead."""

    what: str
    unit: str
    ours: Sequence[float]
    peer: Sequence[float]
    goal: str
    # Seconds: fewer are better.
    less_is_better: bool = False

    def ratios(self) -> list[float]:
        """Return how many times better ours was, repetition by repetition."""
        pairs = zip(self.ours, self.peer, strict=True)
        return [peer / own if self.less_is_better else own / peer for own, peer in pairs]

    def row(self) -> str:
        """Return a row of the table."""
        cells = [spread(values) for values in (self.ours, self.peer, self.ratios())]
        return f"| {self.what} | {self.unit} | {cells[0]} | {cells[1]} | {cells[2]} | {self.goal} |"


def spread(values: Sequence[float]) -> str:
    """Return minimum, median and maximum to three digits."""
    return " / ".join(f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in (
        min(values), statistics.median(values), max(values)))  # fmt: skip


def interleaved(repetitions: int, *sides: Callable[[], float]) -> list[list[float]]:
    """Run the sides in turn, several times; return each side's values. Every other round begins at the other end."""
    found: list[list[float]] = [[] for _ in sides]
    for number in range(repetitions):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            found[side].append(sides[side]())
    return found


def machine() -> str:
    """Describe processor, memory, system and libraries; no name of the machine, of a user, or of a path."""
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
    """Print the section and put it into the file; a quick run only prints."""
    rows = [
        "| what | unit | ours: min / median / max | peer | ratio | goal |",
        "|---|---|---|---|---|---|",
        *(ratio.row() for ratio in ratios),
    ]
    text = f"## {title}\n\n{about}\n\n" + "\n".join(rows) + f"\n\nMachine: {machine()}.\n"
    print(text, flush=True)
    if quick:
        print("--quick: too short to be a figure, so nothing is written")
        return
    known = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else HEAD
    RESULTS.write_text(put_section(known, title, text), encoding="utf-8")


def put_section(known: str, title: str, text: str) -> str:
    """Return the file with one section replaced, or added at its end.

    >>> put_section("# a\\n\\n## b\\n\\nold\\n\\n## c\\n\\nkept\\n", "b", "## b\\n\\nnew\\n")
    '# a\\n\\n## b\\n\\nnew\\n\\n## c\\n\\nkept\\n'
    """
    parts = re.split(r"(?m)^(?=## )", known)
    place = next((number for number, part in enumerate(parts) if part.startswith(f"## {title}\n")), None)
    if place is None:
        return known.rstrip("\n") + "\n\n" + text
    parts[place] = text if place + 1 == len(parts) else text + "\n"
    return "".join(parts)

"""Makes the pictures of the README and of docs/: `make pictures`, after `make repro`.

Two are drawn here as SVG: the stages of dvc.yaml, and the path of one batch. The others are screenshots of the report
and of the search page (screenshots.py). All have a light background, so that they read on a dark page too.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pictures"
INK, SOFT, LINE, PAPER = "#1c2230", "#5b6577", "#9aa4b5", "#ffffff"
FILLS = {"data": "#eef1f6", "fold": "#e5effc", "all": "#e6f4ec"}
FONT = "font-family='-apple-system,Segoe UI,Helvetica,Arial,sans-serif'"


@dataclass(frozen=True)
class Box:
    """One box of a drawing: its place in pixels, a title, the lines under it, and its kind of FILLS."""

    x: int
    y: int
    title: str
    lines: tuple[str, ...] = ()
    kind: str = "data"
    width: int = 138
    height: int = 62

    def draw(self) -> Iterator[str]:
        """Yield the SVG elements of the box."""
        yield (
            f"<rect x='{self.x}' y='{self.y}' width='{self.width}' height='{self.height}' rx='8' "
            f"fill='{FILLS[self.kind]}' stroke='{LINE}'/>"
        )
        middle = self.x + self.width / 2
        top = self.y + self.height / 2 + 5 - 8 * len(self.lines)
        yield text(middle, top, self.title, 14, INK, bold=True)
        for number, line in enumerate(self.lines, start=1):
            yield text(middle, top + 16 * number, line, 11.5, SOFT)


def text(x: float, y: float, words: str, size: float, colour: str, bold: bool = False, anchor: str = "middle") -> str:
    """Return one line of text."""
    weight = " font-weight='600'" if bold else ""
    place = f"x='{x:g}' y='{y:g}' text-anchor='{anchor}'"
    return f"<text {place} {FONT} font-size='{size:g}' fill='{colour}'{weight}>{escape(words)}</text>"


def arrow(first: Box, second: Box, bend: str = "") -> str:
    """Return an arrow between two boxes: to the right, or as `bend` says.

    v is straight down or up, u up from the left, l to the left, r down from one right side to the other.
    """
    if bend == "v":
        x, top, bottom = first.x + first.width / 2, first.y + first.height, second.y
        if second.y < first.y:
            top, bottom = first.y, second.y + second.height
        path = f"M{x:g} {top} L{x:g} {bottom + (5 if second.y < first.y else -5)}"
    elif bend == "u":
        start, end, y1, y2 = first.x + first.width, second.x - 6, first.y + 12, second.y + second.height - 12
        path = f"M{start} {y1} C{end} {y1} {start} {y2} {end} {y2}"
    elif bend == "l":
        y = second.y + second.height / 2
        path = f"M{first.x} {y:g} L{second.x + second.width + 6} {y:g}"
    elif bend == "r":
        side, y1, y2 = first.x + first.width, first.y + first.height / 2, second.y + second.height / 2
        path = f"M{side} {y1:g} C{side + 40} {y1:g} {side + 40} {y2:g} {side + 6} {y2:g}"
    else:
        start, y1 = first.x + first.width, first.y + first.height / 2
        end, y2 = second.x - 6, second.y + second.height / 2
        middle = (start + end) / 2
        path = f"M{start} {y1:g} C{middle:g} {y1:g} {middle:g} {y2:g} {end} {y2:g}"
    return f"<path d='{path}' fill='none' stroke='{SOFT}' stroke-width='1.4' marker-end='url(#tip)'/>"


def drawing(width: int, height: int, title: str, parts: list[str]) -> str:
    """Return a whole SVG file."""
    tip = (
        "<marker id='tip' viewBox='0 0 8 8' refX='6' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
        f"<path d='M0 0 L8 4 L0 8 z' fill='{SOFT}'/></marker>"
    )
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}'"
    sheet = f"<rect width='{width}' height='{height}' rx='10' fill='{PAPER}' stroke='#d9dee7'/>"
    return "\n".join([f"{head} role='img'>", f"<title>{escape(title)}</title>", f"<defs>{tip}</defs>", sheet, *parts,
                      "</svg>\n"])  # fmt: skip


# Stage of dvc.yaml, or folder that stages start from -> its box.
STAGES = {
    "products": Box(24, 54, "your table", ("data/raw/…", "and its photos")),
    "weights": Box(24, 232, "weights", ("pretrained towers",)),
    "catalogue": Box(194, 54, "catalogue", ("products, queries,", "rejects")),
    "frames": Box(24, 143, "frames", ("of clips,", "if there are any")),
    "folds": Box(364, 54, "folds", ("split and fold", "of each product")),
    "shards": Box(194, 143, "shards", ("photos in tars",)),
    "features": Box(194, 232, "features", ("frozen towers,", "run once")),
    "teacher": Box(364, 321, "teacher", ("teachers,", "run once")),
    "views": Box(534, 321, "views", ("frozen towers at the", "sizes of prediction")),
    "phase": Box(534, 232, "phase", ("earlier phases,", "if there are any"), "fold"),
    "train": Box(534, 143, "train", ("one model a fold",), "fold"),
    "embed": Box(704, 143, "embed", ("each fold at each", "image size"), "fold"),
    "gallery": Box(704, 54, "gallery", ("all products,", "photos and texts"), "fold"),
    "index": Box(534, 54, "index", ("FAISS, photo and", "text together"), "fold"),
    "judged": Box(874, 54, "judged", ("thumbs of the search", "page, if there are any"), "fold"),
    "ensemble": Box(874, 143, "ensemble", ("folds and sizes", "fused; submission"), "all"),
    "evaluate": Box(874, 232, "evaluate", ("metrics with", "95 % intervals"), "all"),
    "baselines": Box(704, 321, "baselines", ("classes by the towers", "before training")),
    "compose": Box(874, 321, "compose", ("picture + sentence,", "if there are queries"), "fold"),
    "report": Box(704, 232, "report", ("one HTML page",), "all"),
}
ARROWS = (
    ("products", "catalogue", ""), ("products", "frames", "v"), ("frames", "catalogue", ""), ("frames", "shards", ""),
    ("catalogue", "folds", ""), ("catalogue", "shards", "v"), ("folds", "train", ""),
    ("shards", "features", "v"), ("shards", "train", ""), ("weights", "features", ""), ("features", "phase", ""),
    ("phase", "train", "v"), ("features", "train", ""), ("teacher", "phase", ""),
    ("views", "embed", ""), ("train", "embed", ""), ("embed", "gallery", "v"), ("gallery", "index", "l"),
    ("gallery", "judged", ""), ("judged", "evaluate", "r"),
    ("embed", "ensemble", ""), ("ensemble", "evaluate", "v"), ("compose", "evaluate", "v"),
    ("baselines", "evaluate", "u"), ("evaluate", "report", "l"),
)  # fmt: skip


def dag() -> str:
    """Return the picture of the stages; ValueError if dvc.yaml has others than are drawn."""
    known = set(YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    known.remove("code")  # it has an arrow to every other stage
    if known != STAGES.keys() - {"products", "weights"}:
        raise ValueError(f"dvc.yaml has {sorted(known)}, drawn are {sorted(STAGES)}")
    parts = [arrow(STAGES[one], STAGES[other], bend) for one, other, bend in ARROWS]
    for box in STAGES.values():
        parts += box.draw()
    legend = (("data", "once for a catalogue"), ("fold", "for each fold"), ("all", "over all folds"))
    for number, (kind, words) in enumerate(legend):
        x = 24 + 190 * number
        parts.append(f"<rect x='{x}' y='20' width='14' height='14' rx='3' fill='{FILLS[kind]}' stroke='{LINE}'/>")
        parts.append(text(x + 22, 31, words, 12, SOFT, anchor="start"))
    return drawing(1062, 405, "The stages of the pipeline", parts)


def path_of_a_batch() -> str:
    """Return the picture of one batch on its way through training; the small lines are files of pipeline_lib."""
    sampler = Box(24, 138, "row numbers", ("training/samplers.py",), width=206)
    photos = Box(270, 24, "pixels of a view", ("loading/photo_views.py",), width=206)
    texts = Box(270, 100, "token ids", ("loading/text_views.py",), width=206)
    stored = Box(270, 176, "or stored activations", ("loading/stored_features.py",), width=206)
    teachers = Box(270, 252, "teachers' outputs", ("loading/teacher_rows.py",), width=206)
    batch = Box(516, 138, "Batch", ("batch.py", "loading/dataset.py"), "fold", 206, 76)
    towers = Box(762, 60, "towers", ("towers/tower.py", "frozen prefix, trained suffix"), "fold", 206, 76)
    heads = Box(762, 176, "heads → Outputs", ("models/multimodal.py", "models/classifier.py"), "fold", 206, 76)
    losses = Box(762, 292, "named losses, total", ("training/task.py", "losses/build.py"), "all", 206, 76)
    step = Box(516, 292, "backward and step", ("training/trainer.py", "optim/schedules.py"), "all", 206, 76)
    averages = Box(270, 330, "moving averages", ("training/ema.py",), "all", 206)
    parts = [arrow(sampler, box) for box in (photos, texts, stored, teachers)]
    parts += [arrow(box, batch) for box in (photos, texts, stored, teachers)]
    parts += [arrow(batch, towers), arrow(towers, heads, "v"), arrow(heads, losses, "v")]
    parts += [arrow(losses, step, "l"), arrow(step, averages, "l")]
    for box in (sampler, photos, texts, stored, teachers, batch, towers, heads, losses, step, averages):
        parts += box.draw()
    return drawing(992, 416, "The path of one batch", parts)


def named_files(svg: str) -> set[str]:
    """Return the files of pipeline_lib that a drawing names."""
    return set(re.findall(r"[a-z_]+(?:/[a-z_]+)*\.py", svg))


def main() -> None:
    """Write all pictures; with --drawn only those that need neither a run nor a browser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=ROOT / "reports" / "index.html")
    parser.add_argument("--project", type=Path, default=ROOT, help="a project after dvc repro, for the search page")
    parser.add_argument("--drawn", action="store_true", help="only the two drawings")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "dag.svg").write_text(dag(), encoding="utf-8")
    (FOLDER / "batch.svg").write_text(path_of_a_batch(), encoding="utf-8")
    if not options.drawn:
        from screenshots import take

        take(FOLDER, options.report, options.project)
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()

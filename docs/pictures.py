"""Makes the pictures of the README and of docs/: `make pictures`, after `make repro`.

Seven are screenshots by a headless Chromium, of reports/index.html and of the search page. The other two are drawn here
as SVG: the stages of dvc.yaml, and the path of one batch. All have a light background, so that they read on a dark page
too.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image, ImageChops
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pictures"
WIDTH = 1160
COLOURS = 128
# Picture -> the style that leaves one part of the page, and more pixels than that part is high. Of the gallery, every
# third query is shown: good and bad answers.
SHOTS = {
    "headline": (
        "main > section:not(#headline), nav { display: none } section { margin: 8px 0 } "
        "header.top { padding-bottom: 0 } #headline h3, #headline .scroll, #headline .note { display: none }",
        700,
    ),
    "gallery": (
        "main > section:not(#gallery), header, nav { display: none } section { margin: 12px 0 } "
        "#gallery .cards > :not(:nth-child(3n + 1)) { display: none }",
        900,
    ),
    "learning": (
        "main > section:not(#learning):not(#recall), header, nav { display: none } section { margin: 12px 0 }",
        1400,
    ),
    "embeddings": (
        "main > section:not(#embeddings):not(#attention), header, nav { display: none } section { margin: 12px 0 } "
        "#embeddings .charts > :not(:nth-child(3)):not(:nth-child(4)), #embeddings .charts ~ *, #embeddings .scroll "
        "{ display: none } #attention .cards > :nth-child(-n + 2) { display: none }",
        1400,
    ),
}
# Picture -> the address of the search page, and the part of the window that is shown: left, top, right, bottom.
SEARCHES = {
    "search": ("/?q=white+t-shirt", (0, 0, WIDTH, 706)),
    "why": ("/?q=white+t-shirt&product=007912&why=1", (122, 14, 1038, 640)),
    "judged": ("/?view=judged", (0, 0, WIDTH, 640)),
}
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


def browser() -> str:
    """Return the Chromium to run; ValueError if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise ValueError("no Chromium found; install it (and fonts-noto-cjk), or name it in the variable CHROMIUM")
    return found


def shoot(page: str, style: str, height: int) -> Image.Image:
    """Return a screenshot of a report with `style` added, without the empty part below."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "page.html"), Path(folder, "page.png")
        source.write_text(page.replace("</head>", f"<style>{style}</style></head>"), encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/user"]
        command = [browser(), *flags, f"--window-size={WIDTH},{height}", f"--screenshot={target}", source.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        with Image.open(target) as shot:
            return trimmed(shot.convert("RGB"))


@contextlib.contextmanager
def search_server(project: Path) -> Iterator[str]:
    """Run `vitrine serve` in a project, with judgements of the sample's twenty queries, and yield its address."""
    code = "from pipeline_lib.cli.main import main; main()"
    with contextlib.ExitStack() as stack:
        judged = Path(stack.enter_context(tempfile.TemporaryDirectory()), "judgements.csv")
        judge = [str(ROOT / "bench/search_quality.py"), "--project", str(project), "--judge", str(judged)]
        subprocess.run([sys.executable, *judge], check=True, capture_output=True)
        command = [sys.executable, "-c", code, "serve", "--listen", "0", "--judgements", str(judged)]
        server = stack.enter_context(subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True))
        assert server.stderr is not None
        printed, address = [], ""
        for line in server.stderr:
            printed.append(line)
            if found := re.search(r"search page: (\S+?)/ ", line):
                address = found[1]
                break
        if not address:
            raise ValueError(f"vitrine serve did not start: {' '.join(printed)}")
        try:
            yield address
        finally:
            server.terminate()


def shoot_address(address: str, part: tuple[int, int, int, int]) -> Image.Image:
    """Return a part of the screenshot of a page once it has loaded all that it asks for."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "page.png")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/user"]
        flags += ["--virtual-time-budget=20000", f"--window-size={WIDTH},{part[3] + 12}", f"--screenshot={target}"]
        subprocess.run([browser(), *flags, address], check=True, capture_output=True)
        with Image.open(target) as shot:
            return shot.convert("RGB").crop(part)


def trimmed(image: Image.Image, margin: int = 16) -> Image.Image:
    """Return an image without the rows at its end that have the colour of its last row."""
    ground = Image.new("RGB", (1, 1), image.getpixel((2, image.height - 1))).resize(image.size)
    box = ImageChops.difference(image, ground).getbbox()
    end = image.height if box is None else min(image.height, box[3] + margin)
    return image.crop((0, 0, image.width, end))


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
        page = options.report.read_text(encoding="utf-8")
        for name, (style, height) in SHOTS.items():
            image = shoot(page, style, height)
            image.quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)
        with search_server(options.project) as address:
            for name, (query, part) in SEARCHES.items():
                image = shoot_address(address + query, part)
                image.quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()

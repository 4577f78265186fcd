"""The screenshots among the pictures: the report and the search page of a finished run, in a headless Chromium.

The search page runs over a copy of the run, in which a second fold gets an index too, so that two models are compared.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

ROOT = Path(__file__).parents[1]
WIDTH, PHONE = 1160, 390
COLOURS = 64
KIND = "webp"
# Picture -> the style that leaves one part of the report. Of the gallery, every third query is shown: good and bad
# answers.
SHOTS = {
    "headline": (
        "main > section:not(#headline), nav { display: none } section { margin: 8px 0 } "
        "header.top { padding-bottom: 0 } #headline h3, #headline .scroll, #headline .note { display: none }"
    ),
    "gallery": (
        "main > section:not(#gallery), header, nav { display: none } section { margin: 12px 0 } "
        "#gallery .cards > :not(:nth-child(3n + 1)) { display: none }"
    ),
    "learning": "main > section:not(#learning):not(#recall), header, nav { display: none } section { margin: 12px 0 }",
    "embeddings": (
        "main > section:not(#embeddings):not(#attention), header, nav { display: none } section { margin: 12px 0 } "
        "#embeddings .charts > :not(:nth-child(3)):not(:nth-child(4)), #embeddings .charts ~ *, #embeddings .scroll "
        "{ display: none } #attention .cards > :nth-child(-n + 2) { display: none }"
    ),
}


@dataclass(frozen=True)
class Scene:
    """A state of the search page: its address, the part of the window that is shown, and what is done before.

    `part` is left, top, width and height in CSS pixels; `density` is how many pixels of the picture are one of them.
    """

    address: str
    part: tuple[int, int, int, int]
    ready: str = ".card"
    width: int = WIDTH
    language: str = "en"
    density: float = 1
    act: Callable[[Any], object] | None = None


# Picture -> a scene of the search page. Each is a query as a person would type it.
SEARCHES = {
    "search": Scene("/?q=checked+cushion", (0, 0, WIDTH, 706)),
    "why": Scene("/?q=white+t-shirt&product=007912&why=1", (122, 14, 916, 626), "dialog .cards .card"),
    "judged": Scene("/?view=judged", (0, 0, WIDTH, 640), ".judged li:nth-child(20)"),
    "compare": Scene(
        "/?q=white+t-shirt&range=price%3A%3A30&hide_duplicates=true&k=6&compare=true",
        (0, 0, WIDTH, 1022),
        ".column[data-model='1'] .card",
        act=lambda page: page.click("#filters summary"),
    ),
    "chinese": Scene("/?q=红色条纹杯子", (0, 0, WIDTH, 706), language="zh"),
    "phone": Scene("/?q=red+striped+mug", (0, 0, PHONE, 844), width=PHONE, density=1.5),
}


def take(folder: Path, report: Path, project: Path) -> None:
    """Write all screenshots of a report and of the search page of its project into a folder."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as library:
        program = library.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        for name, style in SHOTS.items():
            write(folder, name, trimmed(shoot(program, report, style)))
        with search_server(project) as address:
            for name, scene in SEARCHES.items():
                write(folder, name, shoot_scene(program, address, scene))
        program.close()


def browser() -> str:
    """Return the Chromium to run; ValueError if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise ValueError("no Chromium found; install it (and fonts-noto-cjk), or name it in the variable CHROMIUM")
    return found


def shoot(program: Any, report: Path, style: str) -> Image.Image:
    """Return a screenshot of a report with `style` added."""
    page = program.new_page(viewport={"width": WIDTH, "height": 700}, color_scheme="light")
    page.goto(report.resolve().as_uri())
    page.add_style_tag(content=style)
    # A picture that is out of sight is loaded late.
    page.evaluate("[...document.images].forEach(one => { one.loading = 'eager' })")
    page.evaluate("Promise.all([...document.images].map(one => one.decode()))")
    image = Image.open(BytesIO(page.screenshot(full_page=True))).convert("RGB")
    page.close()
    return image


def shoot_scene(program: Any, address: str, scene: Scene) -> Image.Image:
    """Return a screenshot of a part of the search page once it has loaded all that it asks for."""
    left, top, width, height = scene.part
    context = program.new_context(
        viewport={"width": scene.width, "height": top + height + 12},
        locale=scene.language,
        device_scale_factor=scene.density,
        color_scheme="light",
    )
    page = context.new_page()
    page.goto(address + scene.address)
    page.wait_for_selector(scene.ready)
    if scene.act:
        scene.act(page)
    page.wait_for_load_state("networkidle")
    clip = {"x": left, "y": top, "width": width, "height": height}
    image = Image.open(BytesIO(page.screenshot(clip=clip))).convert("RGB")
    context.close()
    return image


@contextlib.contextmanager
def search_server(project: Path) -> Iterator[str]:
    """Run `vitrine serve` with folds 0 and 1 and judgements of the sample's twenty queries, and yield its address."""
    code = "from pipeline_lib.cli.main import main; main()"
    with contextlib.ExitStack() as stack:
        copy = Path(stack.enter_context(tempfile.TemporaryDirectory()), "sample")
        judged = copy / "judgements.csv"
        with_second_index(project.resolve(), copy)
        run(ROOT / "bench/search_quality.py", "--project", copy, "--judge", judged, folder=copy)
        command = [sys.executable, "-c", code, "serve", "--listen", "0", "--against", "1", "--judgements", str(judged)]
        server = stack.enter_context(
            subprocess.Popen(command, cwd=copy, env=environment(), stderr=subprocess.PIPE, text=True)
        )
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


def with_second_index(project: Path, copy: Path) -> None:
    """Copy what a search of a project needs, and index all products by fold 1, as plan.search=[0,1] would.

    The stages are those of the project: they refuse to run with other code than the stages before them.
    """
    shutil.copytree(project / "data/work", copy / "data/work")
    shutil.copy(project / "params.yaml", copy)
    for other in (project / "data").iterdir():
        if other.name != "work":
            (copy / "data" / other.name).symlink_to(other)
    code = [copy / "pipeline_lib", copy / "stages"]
    for link in code:
        link.symlink_to(project / link.name)
    run("-m", "stages.gallery", "--fold", "1", folder=copy, code=copy)
    run("-m", "stages.index", "--kind", "flat", "--fold", "1", folder=copy, code=copy)
    for link in code:
        link.unlink()


def run(*arguments: object, folder: Path, code: Path = ROOT) -> None:
    """Run Python in a folder with the packages of a repository; CalledProcessError if it fails."""
    command = [sys.executable, *map(str, arguments)]
    subprocess.run(command, cwd=folder, env=environment(code), check=True, stdout=subprocess.DEVNULL)


def environment(code: Path = ROOT) -> dict[str, str]:
    """Return this process's environment, in which the packages of a repository are found from any folder."""
    return os.environ | {"PYTHONPATH": str(code)}


def write(folder: Path, name: str, image: Image.Image) -> None:
    """Write a picture of few colours without further loss."""
    image.quantize(COLOURS).convert("RGB").save(folder / f"{name}.{KIND}", lossless=True, quality=100, method=6)


def trimmed(image: Image.Image, margin: int = 16) -> Image.Image:
    """Return an image without the rows at its end that have the colour of its last row."""
    ground = Image.new("RGB", (1, 1), image.getpixel((2, image.height - 1))).resize(image.size)
    box = ImageChops.difference(image, ground).getbbox()
    end = image.height if box is None else min(image.height, box[3] + margin)
    return image.crop((0, 0, image.width, end))

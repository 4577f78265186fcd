"""Makes a small catalogue as a shop would export it, reads it, and shows what the catalogue stage makes of it.

    python examples/own_catalogue.py [FOLDER]

FOLDER gets products.csv and images/, with the faults that real exports have. Without it a temporary folder is used.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.catalogue.schema import Catalogue
from pipeline_lib.catalogue.tables import count, write_catalogue
from pipeline_lib.datasets.readers import READERS
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.section import load_params

PARAMS = Path(__file__).parents[1] / "params.yaml"
COLOURS = {"red": "#c0392b", "blue": "#2471a3", "green": "#1e8449"}
SHAPES = ("mug", "plate", "lamp")


def write_export(folder: Path) -> None:
    """Write nine good products, one with a photo that is cut short, one without a photo, and one id twice."""
    images = folder / "images"
    images.mkdir(parents=True)
    rows = []
    for number, (name, colour) in enumerate((name, colour) for name in SHAPES for colour in COLOURS):
        draw_photo(images / f"{1000 + number}.jpg", SHAPES.index(name), COLOURS[colour])
        rows.append((str(1000 + number), f"{colour.title()} {name}", "Ceramic" if name != "lamp" else "", name))
    draw_photo(images / "1009.jpg", 0, "#7d3c98")
    short = (images / "1009.jpg").read_bytes()
    (images / "1009.jpg").write_bytes(short[: len(short) // 2])
    rows += [
        ("1009", "Purple mug", "", "mug"),
        ("1010", "Grey lamp", "", "lamp"),
        ("1000", "Red mug, again", "", "mug"),
    ]
    with (folder / "products.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "title", "description", "categories"))
        writer.writerows(rows)


def draw_photo(path: Path, shape: int, colour: str) -> None:
    """Draw one product on a light ground."""
    photo = Image.new("RGB", (160, 160), "#f4f1ea")
    pen = ImageDraw.Draw(photo)
    box = (40 - 10 * shape, 40, 120 + 10 * shape, 120 - 20 * shape)
    (pen.ellipse, pen.rectangle, pen.rounded_rectangle)[shape](box, fill=colour, outline="#333333")
    photo.save(path, quality=90)


def read_export(folder: Path) -> Catalogue:
    """Read the export with the settings of params.yaml, but this folder."""
    settings = load_params(PARAMS)["data"] | {"root": str(folder), "max_reject_fraction": 0.5}
    data = DataParams.model_validate(settings)
    return build_catalogue(READERS[data.reader](data), data, workers=1)


def main(arguments: list[str]) -> None:
    """Make, read and show a catalogue."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    folder = parser.parse_args(arguments).folder or Path(tempfile.mkdtemp())
    write_export(folder)
    catalogue = read_export(folder)
    tables = folder / "catalogue"
    tables.mkdir()
    write_catalogue(tables, catalogue)
    counts = count(catalogue)
    print(f"{folder / 'products.csv'}: {counts['products']} products, {counts['queries']} queries")
    for row, product_id, file, reason, value, action in catalogue.rejects.iter_rows():
        print(f"  row {row}, id {product_id}, {file}: {reason} ({value}): {action}")
    print(f"tables: {tables}")
    print("next: cp -r FOLDER data/raw/mine, dvc add data/raw/mine, dvc exp run -S data.root=data/raw/mine")


if __name__ == "__main__":
    main(sys.argv[1:])

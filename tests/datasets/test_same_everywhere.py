"""What a stage of the data writes is the same in every checkout: no path, host or user name, and equal bytes."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from machine_names import naming
from PIL import Image
from ruamel.yaml import YAML

from pipeline_lib.artifacts.messages import one_line
from pipeline_lib.catalogue import photos
from stages import catalogue, folds, shards

PARAMS = Path(__file__).parents[2] / "params.yaml"


def write_photos(folder: Path, outside: Path) -> list[str]:
    """Write good photos and one of each kind that has a fault or a note; return the cells of the image column."""
    rng = np.random.default_rng(0)
    for number in range(12):
        picture = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((60, 60))
        picture.save(folder / f"{number}.jpg")
    whole = (folder / "0.jpg").read_bytes()
    outside.mkdir()
    (outside / "away.jpg").write_bytes(whole)
    (folder / "linked.jpg").symlink_to(outside / "away.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "nowhere.jpg").symlink_to(outside / "none.jpg")
    (folder / "folder.jpg").mkdir()
    (folder / "empty.jpg").touch()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "no-end.jpg").write_bytes(whole[:-2])
    (folder / "text.jpg").write_text("<html>not here</html>")
    for kind in ("PNG", "GIF", "TIFF", "BMP", "WEBP"):
        stream = io.BytesIO()
        Image.open(folder / "1.jpg").save(stream, kind)
        for part in (20, 40, 100, 0.7):
            count = part if part > 1 else int(len(stream.getvalue()) * part)
            (folder / f"cut{count}.{kind.lower()}").write_bytes(stream.getvalue()[:count])
    names = sorted(path.name for path in folder.iterdir())
    return [*names, "absent.jpg", "x" * 300 + ".jpg", "../../away.jpg", "/etc/hostname", "a" * 250 + "/b.jpg"]


def write_project(root: Path) -> None:
    """Write params and a catalogue into a new folder."""
    yaml = YAML()
    params = yaml.load(PARAMS.read_text(encoding="utf-8"))
    params["data"] |= {"root": "raw", "max_reject_fraction": 1.0}
    params["runtime"]["workers"] = 1
    (root / "raw/images").mkdir(parents=True)
    yaml.dump(params, root / "params.yaml")
    cells = write_photos(root / "raw/images", root / "outside")
    rows = [f"{number},thing {number},{'ab'[number % 2]},{cell}\n" for number, cell in enumerate(cells)]
    (root / "raw/table.csv").write_text("id,title,label,image\n" + "".join(rows), encoding="utf-8")


def test_two_checkouts_write_equal_bytes_and_name_no_machine(tmp_path, monkeypatch):
    written = {}
    for name in ("first-checkout", "another/deeper/checkout-2"):
        root = tmp_path / name
        root.mkdir(parents=True)
        write_project(root)
        monkeypatch.chdir(root)
        for stage in (catalogue, folds, shards):
            stage.main()
        files = [path for path in sorted((root / "data/work").rglob("*")) if path.is_file()]
        written[name] = {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        assert not naming(files, str(tmp_path), name)
        assert {"catalogue", "folds", "shards"} <= {path.parent.name for path in files}
    first, second = written.values()
    assert first == second
    rejects = pl.read_parquet(root / "data/work/catalogue/rejects.parquet")
    reasons = set(rejects["reason"])
    assert {"unreadable image", "link leaves the data root", "missing image", "unsafe path", "empty file"} <= reasons
    assert not rejects["value"].str.contains(r"0x[0-9a-f]{6,}").any()
    assert "File name too long" in set(rejects["value"])


@pytest.mark.parametrize("name", ["loop.jpg", "locked.jpg"])
def test_a_file_that_cannot_be_opened_has_no_path_in_its_fault(tmp_path, monkeypatch, name):
    def refused(*_):
        raise PermissionError(13, "Permission denied", str(tmp_path / name))

    monkeypatch.setattr(photos, "open_photo", refused)
    fault = photos.check_photos(tmp_path, 100, [name]).faults[0]
    assert fault == photos.Fault("unreadable image", "Permission denied")
    assert os.sep not in fault.value


def test_an_error_of_a_decoder_has_no_address():
    error = OSError(f"cannot identify image file {io.BytesIO(b'')!r}")
    assert one_line(error) == "cannot identify image file <_io.BytesIO>"

"""No error or reject quotes bytes of a file that is not what it should be; cells are quoted up to 60 characters."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from written_composed import write_circo, write_cirr, write_fashion_iq
from written_msr_vtt import msr_vtt_content
from written_muge import write_muge

from pipeline_lib.artifacts.read import read_object, read_table
from pipeline_lib.catalogue.photos import check_photos
from pipeline_lib.clips.container import open_clip
from pipeline_lib.datasets.readers import read_records
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.serving.judgements import HEADER, read_judgements
from pipeline_lib.splitting.assignment import read_assignment
from pipeline_lib.stores.store import open_store
from pipeline_lib.towers.weights import read_weights
from pipeline_lib.transforms.formats import BadPhotoError, other_formats
from pipeline_lib.transforms.tokenize import TextTokenizer

PARAMS = Path(__file__).parents[2] / "params.yaml"
SECRET = "kJ7wQx2ZpV9mT4rB"
PIECES = [SECRET[start : start + 6] for start in range(len(SECRET) - 5)]
# Files of any kind that may lie in a data folder by mistake.
CONTENTS = {
    "text": SECRET * 9,
    "lines": f"{SECRET}\n" * 9,
    "a key": f"password={SECRET}\n",
    "pairs": f"{SECRET}: {SECRET}\n" * 3,
    "a tab": f"{SECRET}\t{SECRET}\n" * 3,
    "a JSON text": json.dumps(SECRET),
    "a JSON list": json.dumps([SECRET] * 3),
    "lists": json.dumps([[SECRET]]),
    "half JSON": '{"' + SECRET,
    "digits": "7" * 5000 + SECRET,
    "zeros": "\0" * 30 + SECRET,
}
FORMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "muge": (write_muge, "train_queries.jsonl"),
    "muge images": (write_muge, "train_imgs.tsv"),
    "cirr": (write_cirr, "captions/cap.rc2.train.json"),
    "cirr pictures": (write_cirr, "image_splits/split.rc2.val.json"),
    "circo": (write_circo, "annotations/val.json"),
    "fashion_iq": (write_fashion_iq, "captions/cap.dress.train.json"),
    "fashion_iq pictures": (write_fashion_iq, "image_splits/split.dress.val.json"),
    "karpathy": (lambda root: (root / "dataset.json").touch(), "dataset.json"),
    "msr_vtt": (
        lambda root: (root / "MSRVTT_data.json").write_text(json.dumps(msr_vtt_content()), encoding="utf-8"),
        "MSRVTT_data.json",
    ),
}


def data_params(root: Path, reader: str, **changes: Any) -> DataParams:
    values = load_params(PARAMS)
    columns = values["data"]["columns"] | changes
    values["data"] |= {"root": str(root), "reader": reader, "columns": columns}
    return parse_section(DataParams, values)


def assert_silent(message: str) -> None:
    assert not [piece for piece in PIECES if piece in message], message


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("form", FORMS)
def test_a_benchmarks_file(tmp_path: Path, form: str, content: str) -> None:
    write, name = FORMS[form]
    write(tmp_path)
    (tmp_path / name).write_text(CONTENTS[content], encoding="utf-8")
    try:
        read_records(data_params(tmp_path, form.split()[0]))
    except ValueError as error:
        assert_silent(str(error))
    else:  # a list of texts is one of names
        assert (form, content) == ("fashion_iq pictures", "a JSON list")


STARTS = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"P3\n",
    b"P6 ",
    b"P1",
    b"GIF89a",
    b"BM",
    b"RIFF\0\0\0\0WEBP",
    b"II*\0",
    b"/* XPM */",
    b"#define ",
]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_photo(tmp_path: Path, start: bytes, content: str) -> None:
    """Formats of text quote a word of their header in Pillow's messages."""
    assert other_formats()
    (tmp_path / "a.png").write_bytes(start + CONTENTS[content].encode())
    (fault,) = check_photos(tmp_path.resolve(), 10**6, ["a.png"], ()).faults
    if fault is not None:
        assert_silent(f"{fault.reason}: {fault.value}")


@pytest.mark.parametrize("content", CONTENTS)
def test_files_of_stages_towers_and_clips(tmp_path: Path, content: str) -> None:
    data = CONTENTS[content].encode()
    for folder in ("store", "tokenizer"):
        (tmp_path / folder).mkdir()
    files = ("a.json", "a.parquet", "a.safetensors", "a.mp4", "store/header.json", "tokenizer/tokenizer.json", "a.pt")
    for name in files:
        (tmp_path / name).write_bytes(data)

    def clip() -> None:
        with open_clip(tmp_path / "a.mp4"):
            pass

    readers = [
        lambda: read_object(tmp_path / "a.json"),
        lambda: read_table(tmp_path / "a.parquet"),
        lambda: read_assignment(tmp_path / "a.parquet", 2),
        lambda: read_weights(tmp_path / "a.safetensors"),
        lambda: open_store(tmp_path / "store"),
        lambda: TextTokenizer(tmp_path / "tokenizer"),
        clip,
    ]
    for read in readers:
        with pytest.raises((ValueError, BadPhotoError)) as fault:
            read()
        assert_silent(str(fault.value))


@pytest.mark.parametrize("column", ["split", "fold"])
def test_a_cell_is_quoted_up_to_60_characters(tmp_path: Path, column: str) -> None:
    (tmp_path / "t.csv").write_text(f"id,title,{column}\n1,mug,{'x' * 3000}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"t\.csv: row 2: {column} = '{'x' * 60}'") as fault:
        read_records(data_params(tmp_path, "csv_table", **{column: column}))
    assert "x" * 61 not in str(fault.value)
    (tmp_path / "a.csv").write_text(
        f"product_id,split,fold\n{'y' * 3000},{'x' * 3000},{'x' * 3000}\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match="a.csv, row 1") as fault:
        read_assignment(tmp_path / "a.csv", 2)
    assert "x" * 61 not in str(fault.value) and "y" * 61 not in str(fault.value)
    (tmp_path / "j.csv").write_text(",".join(HEADER) + f"\n{'x' * 3000},1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"line 2: '{'x' * 60}' is no judgement") as fault:
        read_judgements(tmp_path / "j.csv")
    assert "x" * 61 not in str(fault.value)

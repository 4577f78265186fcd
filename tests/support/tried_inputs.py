"""Bad input of many kinds, and the line that a user sees of each: docs/limits.md quotes all of them.

A case is a function that works in an empty folder and returns the line, or raises the error that has it.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image
from ruamel.yaml import YAML
from tried_files import FILES
from written_composed import cirr_entry, write_circo, write_cirr, write_fashion_iq
from written_karpathy import write_karpathy
from written_msr_vtt import msr_vtt_content, write_msr_vtt
from written_muge import write_muge

from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.catalogue.schema import RETAINED
from pipeline_lib.datasets.readers import read_records
from pipeline_lib.datasets.sample_submission import read_sample
from pipeline_lib.ensembling.submission import check_ids
from pipeline_lib.params.all_sections import check_all, check_params
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.serving.judgements import read_judgements
from pipeline_lib.splitting.assignment import read_assignment

Case = Callable[[], str]
REPO = Path(__file__).parents[2]
ROOT = Path("raw")
# Characters of a line that the page quotes.
LONGEST = 160
BACKSLASH = r"\\\1"


def line_of(case: Case) -> str:
    """Return what a user sees of a case, shortened."""
    try:
        line = case()
    except ValueError as error:
        line = str(error)
    assert line and "\n" not in line
    if len(line) <= LONGEST:
        return line
    start = line[:LONGEST].rstrip()
    return f"{start.rpartition('`')[0] if start.count('`') % 2 else start}…"


def row_of(what: str, line: str) -> str:
    """Return a row of the page: Markdown in which the line is plain text, but for its code."""
    return f"| {what} | {re.sub(r'([|<])', BACKSLASH, line)} |"


def cases() -> dict[str, dict[str, Case]]:
    """Return heading of a table of the page -> what is wrong -> case."""
    return {
        "Tables": TABLES | QUERIES | SUBMISSIONS | ASSIGNMENTS,
        "JSON of benchmarks": JSON,
        "Settings": SETTINGS,
        "Paths and links": PATHS,
        "Files of stages, towers and checkpoints": FILES,
    }


def counted(rejects: pl.DataFrame) -> str:
    """Return the lines about rejects that the stage catalogue prints, joined; rows that are used are quoted."""
    named = rejects.with_columns(pl.col("action").replace(RETAINED, f'"{RETAINED}"'))
    rows = named.group_by("reason", "action").len().sort("reason", "action").iter_rows()
    return "; ".join(f"{reason}: {count} ({action})" for reason, action, count in rows)


def data_params(reader: str = "csv_table", **settings: Any) -> DataParams:
    params = load_params(REPO / "params.yaml")
    params["data"]["columns"] |= settings.pop("columns", {})
    params["data"] |= {"root": str(ROOT), "reader": reader, "max_reject_fraction": 1.0, **settings}
    return parse_section(DataParams, params)


def table(content: str | bytes, reader: str = "csv_table", name: str = "t.csv", **settings: Any) -> Case:
    """Return the case of a table that is read."""

    def read() -> str:
        ROOT.mkdir()
        (ROOT / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return counted(read_records(data_params(reader, **settings)).rejects)

    return read


def benchmark(write: Callable[[Path], object], reader: str, change: Callable[[], object], **settings: Any) -> Case:
    """Return the case of a benchmark's files of which one is changed."""

    def read() -> str:
        ROOT.mkdir()
        write(ROOT)
        change()
        return counted(read_records(data_params(reader, **settings)).rejects)

    return read


def put(name: str, content: object) -> Callable[[], object]:
    """Return a change that writes a file of the root: text, or a value as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    return lambda: (ROOT / name).write_text(text, encoding="utf-8")


def remove(name: str) -> Callable[[], object]:
    return lambda: (ROOT / name).unlink()


def queries(*rows: str, header: str = "query_id,reference_id,text,target_id,grade,subset") -> Case:
    """Return the case of a table of composed queries for the products 1 to 4."""

    def read() -> str:
        ROOT.mkdir()
        (ROOT / "t.csv").write_text("id,title\n" + "".join(f"{n},thing {n}\n" for n in range(1, 5)), encoding="utf-8")
        (ROOT / "q.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return counted(read_records(data_params(queries="q.csv")).rejects)

    return read


def sample(content: str, test_ids: tuple[str, ...] = ("1", "2")) -> Case:
    def read() -> str:
        ROOT.mkdir()
        (ROOT / "s.csv").write_text(content, encoding="utf-8")
        found = read_sample(data_params(sample_submission="s.csv"))
        assert found is not None
        check_ids(found, test_ids)
        return ""

    return read


def assignment(content: str | bytes, name: str = "a.csv") -> Case:
    def read() -> str:
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
        read_assignment(Path(name), 2)
        return ""

    return read


def setting(key: str, value: object, check: Callable[..., None] = check_all) -> Case:
    """Return the case of params.yaml with one other value."""

    def read() -> str:
        params = load_params(REPO / "params.yaml")
        *groups, last = key.split(".")
        inner = params
        for group in groups:
            inner = inner[group]
        inner[last] = value
        if check is check_all:
            check_all(params, Path("params.yaml"))
        else:
            with Path("params.yaml").open("w", encoding="utf-8") as stream:
                YAML().dump(params, stream)
            check(Path("params.yaml"))
        return ""

    return read


def text_of_params(content: str) -> Case:
    def read() -> str:
        Path("params.yaml").write_text(content, encoding="utf-8")
        check_params(Path("params.yaml"))
        return ""

    return read


def without(key: str) -> Case:
    def read() -> str:
        params = load_params(REPO / "params.yaml")
        del params["train"][key]
        check_all(params, Path("params.yaml"))
        return ""

    return read


def photo(cell: str, prepare: Callable[[], object] = lambda: None) -> Case:
    """Return the case of the photo of a product beside a good one, in a DVC project."""

    def read() -> str:
        (ROOT / "images").mkdir(parents=True)
        for folder in (".dvc", "../outside"):
            Path(folder).mkdir(exist_ok=True)
        for file in (ROOT / "images/good.jpg", Path("../outside/a.jpg")):
            Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(file)
        prepare()
        (ROOT / "t.csv").write_text(f"id,title,image\n1,mug,good.jpg\n2,hat,{cell}\n", encoding="utf-8")
        data = data_params()
        return counted(build_catalogue(read_records(data), data, 1).rejects)

    return read


def link(name: str, target: str) -> Callable[[], object]:
    return lambda: Path(name).symlink_to(Path(target).absolute())


def in_project(files: tuple[str, ...], case: Case, *links: tuple[str, str]) -> Case:
    """Return a case in a DVC project with empty files and links."""

    def read() -> str:
        for name in (".dvc/config", *files):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()
        for name, target in links:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            link(name, target)()
        return case()

    return read


def setting_of_index(name: str) -> Case:
    """Return the case of a folder of weights whose index names a file."""

    def read() -> str:
        folder = Path("data/sample/weights/bert")
        folder.mkdir(parents=True)
        index = json.dumps({"weight_map": {"a": name}})
        (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
        return setting("model.text.name", str(folder))()

    return read


def judgements(content: str) -> Case:
    def read() -> str:
        Path("j.csv").write_text(content, encoding="utf-8")
        read_judgements(Path("j.csv"))
        return ""

    return read


GOOD = "id,title\n1,a mug\n"
TABLES: dict[str, Case] = {
    "no table in `data.root`": table("", name="readme.txt"),
    "a table that is not there": table(GOOD, table="products.csv"),
    "an empty table": table(""),
    "a header without rows": table("id,title\n"),
    "a header without names": table(",,\n1,a,b\n"),
    "an Excel workbook named .csv": table(b"PK\x03\x04" + bytes(60)),
    "a compressed table": table(b"\x1f\x8b\x08" + bytes(20)),
    "a Parquet file named .csv": table(b"PAR1" + bytes(20)),
    "a database named .csv": table(b"SQLite format 3\0" + bytes(20)),
    "the error page of a download": table("<!DOCTYPE html><html></html>"),
    "a pointer of Git LFS": table("version https://git-lfs.github.com/spec/v1\n"),
    "a table in GB18030": table("id,title\n1,杯子\n".encode("gb18030")),
    "half an emoji, as bytes": table(b"id,title\n1,mug \xed\xa0\xbd\n"),
    "UTF-16 that is cut": table("id,title\n1,mug\n".encode("utf-16")[:-1]),
    "no column of ids": table("colour,title\nred,mug\n"),
    "a column of params that is not there": table(GOOD, columns={"label": "kind"}),
    "two columns of one name": table("id,title,title\n1,a,b\n"),
    "a row of too many fields": table("id,title\n1,mug\n2,hat,red\n"),
    "a row of too few fields": table("id,title,label\n1,mug,a\n2,hat\n"),
    "a quotation mark that is not closed": table('id,title\n1,mug\n2,"hat\n'),
    "the header again": table("id,title\n1,mug\nid,title\n2,hat\n"),
    "an empty id": table("id,title\n1,mug\n,hat\n"),
    "an id twice": table("id,title\n1,mug\n1,hat\n"),
    "an id that is a path": table("id,title\n1,mug\n../2,hat\n"),
    "an id that Excel has rounded": table("id,title\n1,mug\n1.2346E+15,hat\n"),
    "a split that is none": table("id,title,split\n1,mug,later\n"),
    "a fold that is no number": table("id,title,fold\n1,mug,a\n"),
    "images that are URLs": table("id,title,image\n1,mug,https://example.com/1.jpg\n"),
    "a price that is no number": table("id,title,price\n1,mug,3.50\n2,hat,cheap\n"),
    "captions: no column of captions": table("image,split\na.jpg,train\n", "captions_csv"),
    "captions: an empty image name": table("image,caption\na.jpg,mug\n,hat\n", "captions_csv"),
    "captions: an empty caption": table("image,caption\na.jpg,mug\na.jpg,\n", "captions_csv"),
    "captions: one image in two splits": table(
        "image,caption,split\na.jpg,mug,train\na.jpg,cup,test\n", "captions_csv"
    ),
}
QUERIES: dict[str, Case] = {
    "queries: a column is missing": queries("q,1,in red", header="query_id,reference_id,text"),
    "queries: a grade that is none": queries("q,1,in red,2,high,"),
    "queries: a reference that is no product": queries("q,9,in red,2,,"),
    "queries: the target is the reference": queries("q,1,in red,1,,"),
    "queries: one id for two texts": queries("q,1,in red,2,,", "q,1,in blue,3,,"),
    "queries: an empty text": queries("q,1,,2,,"),
    "queries: a subset of one product": queries("q,1,in red,2,,2"),
}
SUBMISSIONS: dict[str, Case] = {
    "sample submission: three columns": sample("id,a,b\n1,0,1\n"),
    "sample submission: an id twice": sample("id,label\n1,x\n1,x\n"),
    "sample submission: an id that is no test product": sample("id,label\n1,x\n3,x\n"),
}
ASSIGNMENTS: dict[str, Case] = {
    "split.assignment: a column is missing": assignment("product_id,split\n1,train\n"),
    "split.assignment: a product in two places": assignment("product_id,split,fold\n1,train,0\n1,train,1\n"),
    "split.assignment: a fold that does not exist": assignment("product_id,split,fold\n1,train,7\n"),
    "split.assignment: a Parquet file that is cut": assignment(b"PAR1" + bytes(20), "a.parquet"),
}
MUGE = {"query_id": 1, "query_text": "杯子", "item_ids": [1]}
IMAGE = {"filename": "a.jpg", "split": "train", "sentences": [{"raw": "a mug"}]}
OF_NO_CLIP = {"video_id": "none", "caption": "a mug", "sen_id": 1}
CIRR, IQ, CIRCO = "captions/cap.rc2.val.json", "captions/cap.dress.val.json", "annotations/val.json"
JSON: dict[str, Case] = {
    "MUGE: no queries": benchmark(write_muge, "muge", remove("train_queries.jsonl")),
    "MUGE: both published forms": benchmark(write_muge, "muge", put("valid_texts.jsonl", "")),
    "MUGE: no images beside the queries": benchmark(write_muge, "muge", remove("valid_imgs.tsv")),
    "MUGE: a line that is cut": benchmark(write_muge, "muge", put("train_queries.jsonl", '{"query_id": 1, "query')),
    "MUGE: a line that is no object": benchmark(write_muge, "muge", put("train_queries.jsonl", "[1, 2]\n")),
    "MUGE: an id that is a text": benchmark(
        write_muge, "muge", put("train_queries.jsonl", MUGE | {"query_id": "one"})
    ),
    "MUGE: answers that are no list": benchmark(write_muge, "muge", put("train_queries.jsonl", MUGE | {"item_ids": 1})),
    "MUGE: no text in a file": benchmark(write_muge, "muge", put("train_queries.jsonl", "\n")),
    "MUGE: brackets without end": benchmark(write_muge, "muge", put("train_queries.jsonl", "[" * 100_000)),
    "MUGE: a number of 5,000 digits": benchmark(write_muge, "muge", put("train_queries.jsonl", "9" * 5000)),
    "MUGE: an image line that is none": benchmark(write_muge, "muge", put("train_imgs.tsv", "photo of a mug\n")),
    "Karpathy: a file that is cut": table('{"images": [{"filename": "a.jp', "karpathy", "d.json"),
    "Karpathy: another JSON": table('{"annotations": []}', "karpathy", "d.json"),
    "Karpathy: an image without a name": table(json.dumps({"images": [{"split": "train"}]}), "karpathy", "d.json"),
    "Karpathy: a split that is none": table(json.dumps({"images": [IMAGE | {"split": "later"}]}), "karpathy", "d.json"),
    "Karpathy: a sentence without words": table(
        json.dumps({"images": [IMAGE | {"sentences": [{"sentid": 1}]}]}), "karpathy", "d.json"
    ),
    "Karpathy: half an emoji in a caption": benchmark(
        lambda root: write_karpathy(root, sentences=[{"raw": "mug \ud83d"}]), "karpathy", lambda: None
    ),
    "CIRR: no captions": benchmark(lambda root: (root / "a").touch(), "cirr", lambda: None),
    "CIRR: no list of pictures": benchmark(write_cirr, "cirr", remove("image_splits/split.rc2.val.json")),
    "CIRR: pictures that are no mapping": benchmark(write_cirr, "cirr", put("image_splits/split.rc2.val.json", [1])),
    "CIRR: a query without its subset": benchmark(
        write_cirr, "cirr", put(CIRR, [cirr_entry("val", 1, 0, 1, {}) | {"img_set": {"id": 1}}])
    ),
    "FashionIQ: captions that are no list": benchmark(
        write_fashion_iq, "fashion_iq", put(IQ, [{"candidate": "a", "target": "b", "captions": "is red"}])
    ),
    "FashionIQ: products that are no list": benchmark(
        write_fashion_iq, "fashion_iq", put("image_splits/split.dress.val.json", {"a": 1})
    ),
    "CIRCO: ground truths that are texts": benchmark(
        write_circo, "circo", put(CIRCO, [{"id": 0, "reference_img_id": 1, "gt_img_ids": ["2"]}])
    ),
    "CIRCO: a query without an id": benchmark(write_circo, "circo", put(CIRCO, [{"reference_img_id": 1}])),
    "MSR-VTT: a clip to train on and to test": benchmark(
        lambda root: write_msr_vtt(root, clips=False), "msr_vtt", lambda: None,
        train_videos="MSRVTT_train.9k.csv", test_videos="MSRVTT_train.7k.csv",
    ),
    "MSR-VTT: a list of another data set": benchmark(
        lambda root: write_msr_vtt(root, clips=False), "msr_vtt", put("l.csv", "video_id\nv1\n"), train_videos="l.csv"
    ),
    "MSR-VTT: a caption of no clip": benchmark(
        lambda root: write_msr_vtt(root, msr_vtt_content() | {"sentences": [OF_NO_CLIP]}, clips=False),
        "msr_vtt", lambda: None,
    ),
}  # fmt: skip
SETTINGS: dict[str, Case] = {
    "a number as a text": setting("train.epochs", "3"),
    "true for a number": setting("train.epochs", True),
    "decimals for a whole number": setting("train.epochs", 3.0),
    "a negative number": setting("train.tower_lr", -0.001),
    "not a number": setting("train.tower_lr", float("nan")),
    "infinity": setting("losses.triplet.margin", float("inf")),
    "a number that overflows": setting("train.batch_size", 10**30),
    "a layer of a billion units": setting("model.embedding_dim", 10**9),
    "a million processes": setting("runtime.workers", 1_000_000),
    "a seed below 0": setting("train.seed", -1),
    "an empty name": setting("train.init_from", ""),
    "a blank name": setting("data.columns.label", " "),
    "a name with a line break": setting("data.root", "data\nraw"),
    "a file pasted into a setting": setting("evaluate.protocol", "x" * 10_000),
    "a kind that does not exist": setting("data.reader", "coco"),
    "a list for a text": setting("model.image.name", ["resnet50"]),
    "a misspelt key": lambda: setting("train", load_params(REPO / "params.yaml")["train"] | {"epoch": 3})(),
    "a missing key": without("epochs"),
    "a section of its own": text_of_params((REPO / "params.yaml").read_text(encoding="utf-8") + "mine: {}\n"),
    "no YAML": text_of_params("train: [1, 2\n"),
    "a YAML list": text_of_params("- train\n"),
    "a fold that does not exist": setting("plan.folds", [7]),
    "one fold twice": setting("plan.folds", [0, 0]),
    "a search by a fold that is not trained": setting("plan.search", [1, 2, 3]),
    "a correction of hubs without its texts": setting("evaluate.hubness", ["qb_norm"]),
    "a teacher that is not there": setting("plan.teachers", ["big"], check_params),
    "a start that is not there": lambda: in_project(
        ("data/predictions/none/.gitkeep",), setting("train.init_from", "data/starts/gone", check_params)
    )(),
}
OUT = "../outside/a.jpg"
PATHS: dict[str, Case] = {
    "`data.table` with `..`": setting("data.table", "../secret.csv"),
    "an absolute `data.queries`": setting("data.queries", "/srv/queries.csv"),
    "an image folder with `..`": setting("data.image_folder", "../photos"),
    "a table that is a link out of the project": in_project(("raw/x", "../t.csv"), lambda: counted(
        read_records(data_params()).rejects), ("raw/t.csv", "../t.csv")),
    "a photo with `..`": photo("../../outside/a.jpg"),
    "an absolute path of a photo": photo("/srv/a.jpg"),
    "a photo that is a link out of the project": photo("a.jpg", link("raw/images/a.jpg", OUT)),
    "a linked folder outside the project": photo("more/a.jpg", link("raw/more", "../outside")),
    "a photo that is a link to itself": photo("a.jpg", link("raw/images/a.jpg", "raw/images/a.jpg")),
    "a photo that is a link to nothing": photo("a.jpg", link("raw/images/a.jpg", "raw/none.jpg")),
    "a photo that is a folder": photo("a.jpg", lambda: (ROOT / "images/a.jpg").mkdir()),
    "a photo of 0 bytes": photo("a.jpg", lambda: (ROOT / "images/a.jpg").touch()),
    "a name of 300 letters": photo("a" * 300 + ".jpg"),
    "weights outside `model.weights_root`": setting("model.text.name", "../models/bert"),
    "a tokenizer elsewhere in the project": in_project(
        ("exported/tokenizer.json",), setting("model.text.tokenizer", "exported")),
    "weights whose index names a file elsewhere": in_project(
        ("x.safetensors",), setting_of_index("../../../../x.safetensors")),
    "a linked folder of weights": in_project(
        ("exported/w.safetensors",), setting("model.image.name", "data/sample/weights/image"),
        ("data/sample/weights/image", "exported")),
    "a link out of a folder of starts": in_project(
        ("data/starts/none/.gitkeep",), setting("train.init_from", "data/starts/old"),
        ("data/starts/old/0/model.json", "../model.json")),
    "a start that a phase names": setting("phases.train", {"init_from": "data/starts/old"}),
    "judgements of another form": judgements("query,grade\nmug,1\n"),
}  # fmt: skip

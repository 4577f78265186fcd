"""Reads CIRR (Liu et al. 2021, arXiv:2108.04024): pictures of real scenes, a reference and a sentence that changes it.

`split.rc2.*.json` lists the pictures of a split, the products, by name; `cap.rc2.*.json` has the queries: the target
`target_hard`, which gets grade 2, products with `target_soft` above 0, which get grade 1, and the subset of six
look-alikes. The split test1 has no targets.
"""

from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.messages import kind_of, show
from pipeline_lib.catalogue.schema import RECORDS, Records, Wording, conform
from pipeline_lib.datasets.captions import media_paths
from pipeline_lib.datasets.composed_queries import SOFT, TARGET, ComposedRow, composed_of, merged_composed
from pipeline_lib.datasets.json_file import find_file, load_unique_json, read_entries, text_of
from pipeline_lib.datasets.jsonl import Object
from pipeline_lib.datasets.product_ids import reject_ids
from pipeline_lib.datasets.table_file import check_root
from pipeline_lib.params.data import DataParams

# Name of a split in the files -> our name.
SPLITS = {"train": "train", "val": "val", "test1": "test"}
SUBSET_SIZE = 6
CAPTIONS, PICTURES = ("captions", "cirr/captions"), ("image_splits", "cirr/image_splits")


def read_cirr(data: DataParams) -> Records:
    """Return the records of the splits in data.root; ValueError with the file, row and value of a fault."""
    root = Path(data.root)
    check_root(root, "CIRR's files")
    captions = {name: path for name in SPLITS if (path := find_file(root, f"cap.rc2.{name}.json", CAPTIONS))}
    if not captions:
        raise ValueError(
            f"data.root = {str(root)!r}: no cap.rc2.train.json there or in captions; put CIRR's files there"
        )
    products, parts, rejects = [], [], []
    for name, path in captions.items():
        pictures = find_file(root, f"split.rc2.{name}.json", PICTURES)
        if pictures is None:
            raise ValueError(f"{path}: no split.rc2.{name}.json in {root} or in image_splits; it lists the pictures")
        listed = list_pictures(pictures, root, data.image_folder).with_columns(pl.lit(SPLITS[name]).alias("split"))
        queries = (cirr_query(path, name, row, entry) for row, entry in read_entries(path))
        composed, dropped = composed_of(path.name, queries, listed["product_id"].to_list(), SUBSET_SIZE)
        products.append(listed)
        parts.append(composed)
        rejects.append(dropped)
    good, repeated = reject_ids(root.name, pl.concat(products))
    none = [pl.lit(None).alias(column) for column in ("label", "group", "fold")]
    return merged_composed(
        Records(
            root.name,
            sum(map(len, products)),
            conform(good.with_columns(pl.lit("").alias("text"), *none), RECORDS),
            pl.concat([repeated, *rejects]),
            wording=Wording(
                "photos", "put cap.rc2.train.json and split.rc2.train.json beside the files that are there"
            ),
        ),
        parts,
    )


def list_pictures(path: Path, root: Path, image_folder: str) -> pl.DataFrame:
    """Return row, product_id and media of the pictures of a split; ValueError if it is no mapping of names to paths."""
    listed = list_names(path)
    media = media_paths([one.removeprefix("./") for one in listed.values()], root, image_folder)
    columns = {"product_id": list(listed), "path": media}
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).with_row_index("row", offset=1)
    return frame.select(pl.col("row").cast(pl.Int64), "product_id", pl.concat_list("path").alias("media"))


def list_names(path: Path) -> dict[str, str]:
    """Return the path of each picture of a split by its name; ValueError for a file of another form."""
    listed = load_unique_json(path)
    if not isinstance(listed, dict) or not listed or not all(isinstance(one, str) for one in listed.values()):
        raise ValueError(
            f"{path}: {kind_of(listed)}, not an object of names and paths of pictures; download the file again"
        )
    return listed


def cirr_query(path: Path, split: str, row: int, entry: Object) -> ComposedRow:
    """Return the query of an entry of a caption file; ValueError for a value of another type."""
    reference, target = (text_of(path, row, entry, key) for key in ("reference", "target_hard"))
    soft, image_set = entry.get("target_soft") or {}, entry.get("img_set") or {}
    members = image_set.get("members") if isinstance(image_set, dict) else None
    if not isinstance(soft, dict) or not all(isinstance(value, int | float) for value in soft.values()):
        raise ValueError(f"{path}: row {row}: target_soft = {show(soft)}; write an object of names and numbers")
    if not isinstance(members, list) or not all(isinstance(one, str) for one in members):
        raise ValueError(f"{path}: row {row}: img_set = {show(image_set)} has no list of names as `members`")
    answers = {name: SOFT for name, value in soft.items() if value > 0} | ({target: TARGET} if target else {})
    pair = text_of(path, row, entry, "pairid")
    caption = text_of(path, row, entry, "caption")
    query_id = f"{split}-{pair}" if pair else ""
    # Without a target, soft answers would become targets.
    return ComposedRow(row, query_id, reference, caption, answers if target else {}, tuple(members), SPLITS[split])

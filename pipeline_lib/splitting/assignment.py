"""The file of split.assignment: the places of products that stay where they are, whatever the catalogue becomes.

It has the columns of folds.parquet. `vitrine split freeze` writes one from the last run; a .csv may be written by hand.
"""

import csv
import re
from operator import itemgetter
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_table
from pipeline_lib.artifacts.messages import SHOWN
from pipeline_lib.artifacts.read import read_table, reading
from pipeline_lib.splitting.places import ALWAYS_TRAIN, TEST

SCHEMA = {"product_id": pl.String, "split": pl.String, "fold": pl.Int64}
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def read_assignment(path: Path, num_folds: int) -> pl.DataFrame | None:
    """Return the columns product_id, split (train | test), fold and bin of an assignment, each product once.

    None for the empty folder that stands for no assignment. Raises ValueError with file, row and value for what does
    not fit.
    """
    if path == paths.NO_SPLIT:
        return None
    if path.suffix not in READERS or not path.is_file():
        raise ValueError(
            f"split.assignment = {str(path)!r}: no .parquet or .csv file; `vitrine split freeze NAME` writes one, "
            f"`dvc pull` downloads a tracked one, {paths.NO_SPLIT} = none"
        )
    try:
        table = READERS[path.suffix](path)
    except (pl.exceptions.PolarsError, OSError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as {path.suffix}: {str(error).splitlines()[0]}") from None
    written = table.select(pl.col(name).cast(pl.String) for name in SCHEMA).with_row_index("row", offset=1)
    rows = written.with_columns(pl.col("fold").replace("", None).cast(pl.Int64, strict=False).alias("number"))
    _check_rows(path, rows, num_folds)
    rows = rows.select("product_id", "split", pl.col("number").alias("fold")).unique(maintain_order=True)
    _check_once(path, rows)
    test, always = pl.col("split") == "test", pl.col("fold").is_null()
    bins = pl.when(test).then(TEST).when(always).then(ALWAYS_TRAIN).otherwise(pl.col("fold"))
    return rows.with_columns(bins.cast(pl.Int64).alias("bin"))


def _read_parquet(path: Path) -> pl.DataFrame:
    with reading(path):
        names = pl.scan_parquet(path).collect_schema().names()
    _check_columns(path, names)
    with reading(path):  # whose columns may have any type: the user wrote it
        return pl.read_parquet(path, columns=list(SCHEMA))


def _read_csv(path: Path) -> pl.DataFrame:
    """Return the three columns as strings: an id such as 007 stays as it is, and a million others cost no memory."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream)
        header = next(rows, [])
        _check_columns(path, header)
        at = [header.index(name) for name in SCHEMA]
        needed, pick, cells = max(at) + 1, itemgetter(*at), []
        for row in filter(None, rows):
            if len(row) > len(header):
                raise csv.Error(f"line {rows.line_num} has {len(row):,} fields, the header {len(header):,}")
            cells.append([cell or None for cell in pick([*row, *[""] * (needed - len(row))])])
    return pl.DataFrame(cells, schema=dict.fromkeys(SCHEMA, pl.String), orient="row")


def _check_columns(path: Path, names: list[str]) -> None:
    missing = [name for name in SCHEMA if name not in names]
    if missing:
        raise ValueError(f"{path}: no column {missing[0]}; it needs the columns {', '.join(SCHEMA)}")


READERS = {".parquet": _read_parquet, ".csv": _read_csv}


def freeze(name: str, project: Path = Path()) -> Path:
    """Write the folds of the last run to data/splits/NAME.parquet and return its path.

    Raises ValueError for a NAME that is not a plain file name or is in use for another assignment, and without folds.
    """
    if not re.fullmatch(NAME, name) or name == paths.NO_SPLIT.name:
        raise ValueError(f"{name!r} is no name for an assignment; write letters, digits, -, _ and ., and not `none`")
    folds, target = paths.FOLDS / "folds.parquet", paths.SPLITS / f"{name}.parquet"
    if not (project / folds).is_file():
        raise ValueError(f"{folds}: no such file; run `dvc repro folds`")
    table = read_table(project / folds, list(SCHEMA))
    if (project / target).exists() and not read_table(project / target).equals(table):
        raise ValueError(f"{target} exists already with other places; choose another name")
    (project / target).parent.mkdir(parents=True, exist_ok=True)
    write_table(table, project / target)
    return target


def _check_rows(path: Path, rows: pl.DataFrame, num_folds: int) -> None:
    """Raise ValueError for the first row that has no id, another split, or a fold that does not exist."""
    fold, number = pl.col("fold").fill_null(""), pl.col("number")
    faults = {
        "product_id is empty": pl.col("product_id").fill_null("") == "",
        "split = {split!r}; write train or test": ~pl.col("split").fill_null("").is_in(["train", "test"]),
        "fold = {fold!r} is no whole number; leave it empty for a product of every training set": (fold != "")
        & number.is_null(),
        "fold = {fold} of a test product; leave it empty": (pl.col("split") == "test") & (fold != ""),
        "fold = {fold} is out of range: split.num_folds gives folds 0 .. " + str(num_folds - 1): (number < 0)
        | (number >= num_folds),
    }
    for message, wrong in faults.items():
        found = rows.filter(wrong)
        if len(found):
            first = found.with_columns(pl.col(pl.String).str.head(SHOWN)).row(0, named=True)
            more = f" (and {len(found) - 1} more such rows)" if len(found) > 1 else ""
            raise ValueError(f"{path}, row {first['row']}, {first['product_id']!r}: {message.format(**first)}{more}")


def _check_once(path: Path, rows: pl.DataFrame) -> None:
    twice = rows.filter(pl.col("product_id").is_duplicated())
    if len(twice):
        product_id = twice["product_id"][0]
        places = " and ".join(_place_name(*row) for row in twice.filter(pl.col("product_id") == product_id).rows())
        raise ValueError(f"{path}: product {product_id!r} is in {places}; keep one of these rows")


def _place_name(product_id: str, split: str, fold: int | None) -> str:
    """Return the words for a place.

    >>> _place_name("p1", "train", 2), _place_name("p1", "train", None), _place_name("p1", "test", None)
    ('fold 2', 'every training set', 'test')
    """
    return "test" if split == "test" else "every training set" if fold is None else f"fold {fold}"

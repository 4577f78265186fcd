"""The tar, offset and size of every photo, as arrays: about 30 bytes per photo and no Python object.

A photo is identified by its row, which is also its name in the tars. The rows of a product are consecutive, so a
product is a range of rows. Forked readers share these arrays, and pickled readers copy them.
"""

import io
from bisect import bisect_left
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.artifacts.path_guard import check_beside
from pipeline_lib.artifacts.read import reading
from pipeline_lib.artifacts.remote import Location, is_url, join_location, list_sizes, read_file
from pipeline_lib.shards.tars import tar_length
from pipeline_lib.shards.write import MANIFEST

Integers = npt.NDArray[np.int64]
COLUMNS = ("product_id", "shard", "offset", "size")


class Manifest:
    """Where each photo is: `product_ids` (products,), `first` (products + 1,), `tar`, `offset` and `size` (photos,).

    Product i has the rows first[i] .. first[i + 1] - 1. `tar` is an index of `tars`, the paths or URLs of the files.
    Raises ValueError if the manifest or a tar is missing, or if the length of a tar differs from the manifest's.
    """

    def __init__(self, folder: Location) -> None:
        self.location = folder
        path = join_location(folder, MANIFEST)
        if isinstance(path, Path) and not path.is_file():
            raise ValueError(f"{path}: no such file; run `dvc repro shards`")
        source = path if isinstance(path, Path) else io.BytesIO(read_file(path))
        with reading(Path(path)):
            table = pl.read_parquet(source, columns=list(COLUMNS))
        check_beside(Path(path), table["shard"].unique())
        self.offset: Integers = table["offset"].to_numpy()
        self.size: Integers = table["size"].to_numpy()
        runs = table["shard"].rle_id().to_numpy()
        tar_starts = np.flatnonzero(np.diff(runs, prepend=-1))
        self.tar: npt.NDArray[np.int32] = runs.astype(np.int32)
        self.tars = [join_location(folder, name) for name in table["shard"].gather(tar_starts)]
        self._check_tars(np.append(tar_starts[1:], len(table)) - 1)
        starts = np.flatnonzero(np.diff(table["product_id"].rle_id().to_numpy(), prepend=-1))
        ids = table["product_id"].gather(starts)
        self.first: Integers = np.append(starts, len(table)).astype(np.int64)
        self.product_ids = ids.to_numpy().astype(np.dtypes.StringDType())
        self._by_id: Integers = ids.arg_sort().to_numpy().astype(np.int64)
        self._sorted_ids = self.product_ids[self._by_id]

    def __len__(self) -> int:
        return len(self.offset)

    def photos_of(self, product_id: str) -> range:
        """Return the rows of a product's photos, in the order of its media; ValueError for an unknown product."""
        index = bisect_left(self._sorted_ids, product_id)
        if index == len(self._sorted_ids) or self._sorted_ids[index] != product_id:
            raise ValueError(f"product {product_id!r} has no photo in {self.location}; run `dvc repro shards`")
        product = self._by_id[index]
        return range(int(self.first[product]), int(self.first[product + 1]))

    def _check_tars(self, last_rows: Integers) -> None:
        remote = is_url(self.location)
        solution = "Copy data/work/shards there again" if remote else "Delete the folder and run `dvc repro shards`"
        remote_sizes = list_sizes(self.location) if is_url(self.location) else {}
        for path, row in zip(self.tars, last_rows, strict=True):
            expected = tar_length(int(self.offset[row]), int(self.size[row]))
            if isinstance(path, Path):
                size = path.stat().st_size if path.is_file() else 0
            else:
                size = remote_sizes.get(path.rpartition("/")[2], 0)
            if size != expected:
                raise ValueError(
                    f"{path}: {size:,} bytes where the manifest says {expected:,}; the file is missing, truncated or "
                    f"of another run. {solution}"
                )

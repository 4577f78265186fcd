"""Which tar holds which photo of which product, as arrays: about 30 bytes a photo, no Python object.

A photo is known by its row, the number that names it in the tars. The rows of a product follow one another, so a
product is a pair of numbers. Forked and pickled readers share or copy these arrays as they are.
"""

import io
from bisect import bisect_left
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.artifacts.remote import Location, is_url, join_location, list_sizes, read_file
from pipeline_lib.shards.tars import tar_length
from pipeline_lib.shards.write import MANIFEST

Integers = npt.NDArray[np.int64]
COLUMNS = ("product_id", "shard", "offset", "size")


class Manifest:
    """The places of all photos: `product_ids` (products,), `first` (products + 1,), `tar`, `offset`, `size` (photos,).

    Product i has rows first[i] to first[i + 1]; `tar` indexes `tars`, the files' paths or URLs. Raises ValueError if
    the manifest or a tar is missing, or a tar is shorter or longer than the manifest says.
    """

    def __init__(self, folder: Location) -> None:
        self.place = folder
        path = join_location(folder, MANIFEST)
        if isinstance(path, Path) and not path.is_file():
            raise ValueError(f"{path}: no such file; `dvc repro shards` makes it")
        source = path if isinstance(path, Path) else io.BytesIO(read_file(path))
        table = pl.read_parquet(source, columns=list(COLUMNS))
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
        place = bisect_left(self._sorted_ids, product_id)
        if place == len(self._sorted_ids) or self._sorted_ids[place] != product_id:
            raise ValueError(f"product {product_id!r} has no photo in {self.place}; run `dvc repro shards`")
        product = self._by_id[place]
        return range(int(self.first[product]), int(self.first[product + 1]))

    def _check_tars(self, last_rows: Integers) -> None:
        away = is_url(self.place)
        way_out = "Copy data/work/shards there again" if away else "Delete the folder and run `dvc repro shards`"
        there = list_sizes(self.place) if is_url(self.place) else {}
        for path, row in zip(self.tars, last_rows, strict=True):
            expected = tar_length(int(self.offset[row]), int(self.size[row]))
            if isinstance(path, Path):
                found = path.stat().st_size if path.is_file() else 0
            else:
                found = there.get(path.rpartition("/")[2], 0)
            if found != expected:
                raise ValueError(
                    f"{path}: {found:,} bytes where the manifest says {expected:,}; the file is missing, cut off or "
                    f"another's. {way_out}"
                )

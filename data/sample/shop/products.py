"""Writes the sample catalogue: `products.csv`, as a shop system exports it, and its `images/`.

`dvc repro` runs it as `python -m shop.products` in data/sample. The properties, text and photos of a product follow
from the seed and the number of the product alone, so the bytes do not depend on the number of processes.
"""

import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from shop.dirt import CORRUPTIONS, assign_faults, copy_photo
from shop.goods import GOODS, RARE, stock
from shop.items import sample_item
from shop.listing import Listing, write_listing
from shop.photos import Item, draw_photo
from shop.shapes import SHAPES
from shop.stage import run_stage

COLUMNS = ("id", "sku", "title", "description", "categories", "price")
SIZES = ((128, 128), (112, 112), (144, 144), (96, 128), (128, 96), (120, 160), (160, 120))
# Suffix -> PIL's name of the format, and its share of the photos.
FORMATS = {"jpg": ("JPEG", 0.94), "webp": ("WEBP", 0.04), "png": ("PNG", 0.02)}


@dataclasses.dataclass(frozen=True)
class Record:
    """One product of the shop: its item, its texts, its number of photos and its fault."""

    product_id: str
    item: Item
    listing: Listing
    num_photos: int
    fault: str | None = None


def make_records(num_products: int, seed: int) -> list[Record]:
    """Return the shop's products in the order of its table, near-duplicates and faults included."""
    rng = np.random.default_rng(seed)
    kinds = [str(kind) for kind in rng.permutation(stock(num_products))]
    faults = assign_faults([index for index, kind in enumerate(kinds) if kind != RARE], num_products, rng)
    fault_of = {index: fault for fault, indices in faults.items() for index in indices}
    clean = [index for index in range(num_products) if index not in fault_of and kinds[index] != RARE]
    model_of = dict(zip(faults["near duplicate"], rng.permutation(clean).tolist(), strict=False))
    return [
        _record(index, kinds[model_of.get(index, index)], model_of.get(index, index), fault_of.get(index), seed)
        for index in range(num_products)
    ]


def _record(index: int, kind: str, model: int, fault: str | None, seed: int) -> Record:
    rng = np.random.default_rng([seed, index, 3])
    item = sample_item(kind, GOODS[kind].materials, (seed, model))
    listing = write_listing(item, GOODS[kind].names, rng)
    if fault == "empty title":
        listing = listing._replace(title="", description=listing.description or "见图。")
    if fault == "empty text":
        listing = Listing("", "")
    num_photos = int(rng.choice((1, 2, 3), p=(0.55, 0.30, 0.15)))
    if fault in ("truncated image", "text named .jpg", "near duplicate"):
        num_photos = 1
    if fault == "truncated second photo":
        num_photos = 2
    return Record(f"{1000 + 3 * index:06d}", item, listing, num_photos, fault)


def encode_photo(item: Item, number: int) -> tuple[str, bytes]:
    """Return the suffix and the bytes of one photo of an item, in one of SIZES and FORMATS."""
    rng = np.random.default_rng([*item.seed, 4, number])
    image = Image.fromarray(draw_photo(item, SHAPES[item.kind], number, SIZES[rng.integers(len(SIZES))]))
    suffix = str(rng.choice(list(FORMATS), p=[share for _, share in FORMATS.values()]))
    target = io.BytesIO()
    image.save(target, FORMATS[suffix][0], quality=int(rng.integers(72, 93)), method=2)
    return suffix, target.getvalue()


def write_photos(record: Record, folder: Path) -> None:
    """Write a product's photos as `<id>.<suffix>`, or `<id>_<n>.<suffix>` if it has several."""
    for number in range(record.num_photos if record.fault != "missing image" else 0):
        suffix, content = encode_photo(record.item, number)
        if record.fault == "near duplicate":
            suffix, content = "jpg", copy_photo(content)
        if record.fault in CORRUPTIONS and number == record.num_photos - 1:
            suffix, content = "jpg", CORRUPTIONS[record.fault](content)
        name = record.product_id + (f"_{number + 1}" if record.num_photos > 1 else "")
        (folder / f"{name}.{suffix}").write_bytes(content)


def write_table(records: list[Record], path: Path, seed: int) -> None:
    """Write the table in UTF-8 with a byte order mark; duplicate ids are repeated at the end with other texts."""
    rng = np.random.default_rng([seed, 5])
    repeated = [
        dataclasses.replace(record, listing=records[(index + 1) % len(records)].listing)
        for index, record in enumerate(records)
        if record.fault == "duplicate id"
    ]
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for line, record in enumerate([*records, *repeated]):
            label = "" if record.fault == "no label" else record.item.kind
            sku = f"{record.item.kind[:2].upper()}-{line:05d}"
            writer.writerow((record.product_id, sku, *record.listing, label, f"{rng.gamma(4, 6) + 3:.2f}"))


def make_products(out: Path, num_products: int, seed: int, num_jobs: int = 1) -> None:
    """Write the catalogue into a folder; the bytes do not depend on the number of processes."""
    records = make_records(num_products, seed)
    images = out / "images"
    images.mkdir()
    Parallel(n_jobs=num_jobs, batch_size=64)(delayed(write_photos)(record, images) for record in records)
    write_table(records, out / "products.csv", seed)


def main() -> None:
    """Write the folder `products` from the params section of that name."""
    run_stage(
        "products",
        lambda out, params, jobs: make_products(out, params["count"], params["seed"], jobs),
    )


if __name__ == "__main__":
    main()

"""Groups of products by their photos, on two levels: the same thing, and perhaps the same.

Products whose first photos show the same picture are the same thing: they answer each other's texts and are no
negatives of each other. Products whose photos differ in a small part only, or that share another photo, are perhaps
the same: they stay in one fold, and that is all. A photo of more than a few products is a placeholder (a logo, a size
chart) and joins nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline_lib.catalogue.comparison import PERHAPS, SAME, look_alikes
from pipeline_lib.catalogue.linkage import Indices, Links, complete_linkage
from pipeline_lib.catalogue.thumbnails import Rows, scratch_rows
from pipeline_lib.params.data import DataParams

# A cluster of products that are perhaps the same may hold this share of the catalogue, and always this many.
MAX_SHARE, HANDFUL = 0.01, 20
# Only the strongest links of a photo remain, so that memory does not grow with the square of look-alike goods.
LINKS_PER_PHOTO, LINKS_AT_ONCE = 32, 500_000
CHUNK = 4_096
LINK_SCHEMA = {"first": pl.Int64, "second": pl.Int64, "difference": pl.Float32}


@dataclass(frozen=True)
class Photos:
    """The good photos: thumbnails (photos, BYTES), product row (photos,), and a hash of each file's bytes.

    Photos of one product are next to each other, its first photo first. `clips` are the hashes of those that are clips.
    """

    rows: Rows
    product: Indices
    contents: Sequence[str]
    clips: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Grouping:
    """Group ids of both levels, the links (first, second, difference) of product rows, and what to tell the user.

    `placeholders` lists the number of products of each placeholder picture.
    """

    group_ids: list[str]
    fold_group_ids: list[str]
    links: pl.DataFrame
    placeholders: list[int]
    notes: list[str]


def group_products(
    product_ids: Sequence[str], groups: Sequence[str | None], photos: Photos, data: DataParams
) -> Grouping:
    """Group products by their photos and by the table's group names, which count as `data.group_level` says."""
    notes: list[str] = []
    code = {name: number for number, name in enumerate(dict.fromkeys(name for name in groups if name is not None))}
    count = len(product_ids)
    named = np.array([-1 if name is None else code[name] for name in groups], dtype=np.int64)
    links, placeholders = _links(photos, np.where(named >= 0, count + named, np.arange(count)), data, notes)
    same = links.filter(pl.col("difference") <= SAME)
    clusters, _ = complete_linkage(np.ones(count, np.int64), Links.of(same), count)
    edges = [np.stack([np.arange(count), clusters])]
    by_name = np.stack([np.flatnonzero(named >= 0), count + named[named >= 0]])
    if data.group_level == "same":
        edges.append(by_name)
    atoms = _components(count + len(code), edges)
    names = groups if data.group_level == "same" else [None] * count
    group_ids = _name_groups(product_ids, names, atoms[:count])
    if data.group_level == "fold":
        edges.append(by_name)
        atoms = _components(count + len(code), edges)
    fold_atoms = _perhaps(atoms[:count], Links.of(links), notes)
    return Grouping(group_ids, _name_groups(product_ids, groups, fold_atoms), links, placeholders, notes)


def _links(photos: Photos, owner: Indices, data: DataParams, notes: list[str]) -> tuple[pl.DataFrame, list[int]]:
    """Return the links of products of different owners, LINK_SCHEMA, and the number of products of each placeholder."""
    if data.duplicate_bits < 0 or len(photos.contents) == 0:
        return pl.DataFrame(schema=LINK_SCHEMA), []
    contents = pl.DataFrame({"content": photos.contents}).with_row_index("photo")
    distinct = contents.group_by("content", maintain_order=True).agg(pl.col("photo").first()).with_row_index("picture")
    picture = contents.join(distinct, on="content", how="left", maintain_order="left")["picture"].cast(pl.Int64)
    sample = distinct["photo"].cast(pl.Int64).to_numpy()
    pairs, dropped = _strongest_pairs(_selected(photos.rows, sample), data.duplicate_bits)
    # The search allows a shift and a mirrored view, in which a movement to the left looks like one to the right.
    clips = distinct.filter(pl.col("content").is_in(photos.clips))["picture"].cast(pl.Int64).implode()
    moving = pl.col("first").is_in(clips) | pl.col("second").is_in(clips)
    perhaps = pl.max_horizontal("difference", pl.lit(PERHAPS, pl.Float32))
    pairs = pairs.with_columns(pl.when(moving).then(perhaps).otherwise("difference").alias("difference"))
    if dropped:
        notes.append(
            f"{dropped} pairs of photos that look alike are left out: each photo has {LINKS_PER_PHOTO} closer ones"
        )
    shown = pl.DataFrame({"picture": picture, "product": photos.product, "owner": owner[photos.product]}).with_columns(
        is_first=pl.col("product") != pl.col("product").shift(1).fill_null(-1)
    )
    placeholders = _placeholders(shown, pairs, len(sample), data.placeholder_products)
    if len(placeholders):
        notes.append(
            f"{len(placeholders)} photos are on more than data.placeholder_products = {data.placeholder_products} "
            f"products, one on {max(placeholders['products'].to_list())}: placeholders (a logo, a size chart), which "
            "group nothing"
        )
    shown = shown.join(placeholders, on="picture", how="anti").unique(["picture", "product"], maintain_order=True)
    left, right = (shown.rename({name: f"{name}_{side}" for name in shown.columns}) for side in "ab")
    equal = left.join(right, left_on="picture_a", right_on="picture_b").with_columns(difference=pl.lit(0, pl.Float32))
    alike = (
        pairs.rename({"first": "picture_a", "second": "picture_b"})
        .join(left, on="picture_a")
        .join(right, on="picture_b")
    )
    columns = ["product_a", "product_b", "owner_a", "owner_b", "is_first_a", "is_first_b", "difference"]
    links = pl.concat([equal.select(columns), alike.select(columns)]).filter(pl.col("owner_a") != pl.col("owner_b"))
    both_first = pl.col("is_first_a") & pl.col("is_first_b")
    difference = pl.when(both_first).then("difference").otherwise(pl.max_horizontal("difference", pl.lit(PERHAPS)))
    links = links.select(
        pl.min_horizontal("product_a", "product_b").cast(pl.Int64).alias("first"),
        pl.max_horizontal("product_a", "product_b").cast(pl.Int64).alias("second"),
        difference.cast(pl.Float32).alias("difference"),
    )
    links = links.group_by("first", "second").agg(pl.col("difference").min()).sort("first", "second")
    return links, placeholders["products"].to_list()


def _strongest_pairs(rows: Rows, max_bits: int) -> tuple[pl.DataFrame, int]:
    """Return pairs of thumbnails that look alike, LINK_SCHEMA, and how many weaker pairs were dropped."""
    parts, waiting, dropped = [pl.DataFrame(schema=LINK_SCHEMA)], 0, 0
    for pairs in look_alikes(rows, max_bits):
        columns = {"first": pairs.first, "second": pairs.second, "difference": pairs.difference}
        parts.append(pl.DataFrame(columns, schema=LINK_SCHEMA))
        waiting += len(pairs.first)
        if waiting > max(LINKS_AT_ONCE, len(parts[0])):
            strong, weaker = _strongest(pl.concat(parts))
            parts, waiting, dropped = [strong], 0, dropped + weaker
    strong, weaker = _strongest(pl.concat(parts))
    return strong, dropped + weaker


def _strongest(pairs: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return the pairs that are among the LINKS_PER_PHOTO strongest of either photo, and how many are not."""
    sides = [pairs.select(photo=end, pair=pl.row_index(), difference="difference") for end in ("first", "second")]
    ends = pl.concat(sides)
    strong = ends.filter(pl.struct("difference", "pair").rank("ordinal").over("photo") <= LINKS_PER_PHOTO)["pair"]
    remaining = pairs.filter(pl.row_index().is_in(strong.unique().implode()))
    return remaining, len(pairs) - len(remaining)


def _placeholders(shown: pl.DataFrame, pairs: pl.DataFrame, count: int, limit: int) -> pl.DataFrame:
    """Return the pictures that more than `limit` owners share, and their number of products: picture, products."""
    same = pairs.filter(pl.col("difference") <= SAME)
    cluster, _ = complete_linkage(np.ones(count, np.int64), Links.of(same), count)
    numbered = shown.with_columns(cluster=pl.Series(cluster).gather(shown["picture"]))
    shared = numbered.group_by("cluster").agg(owners=pl.col("owner").n_unique(), products=pl.col("product").n_unique())
    shared = numbered.select("picture", "cluster").unique().join(shared.filter(pl.col("owners") > limit), on="cluster")
    return shared.select("picture", "products")


def _selected(rows: Rows, photos: Indices) -> Rows:
    """Return some thumbnails, copied in chunks to a file if they are not all."""
    if len(photos) == len(rows):
        return np.asarray(rows)
    chosen = scratch_rows(len(photos))
    for start in range(0, len(photos), CHUNK):
        chosen[start : start + CHUNK] = rows[photos[start : start + CHUNK]]
    return np.asarray(chosen)


def _perhaps(atoms: Indices, links: Links, notes: list[str]) -> Indices:
    """Return the fold group of each product: groups of the same thing that are perhaps the same, by complete linkage.

    Two of these groups are linked by the closest pair of their products.
    """
    sizes = np.bincount(atoms)
    ends = np.sort(np.stack([atoms[links.first], atoms[links.second]]), axis=0)
    closest = pl.DataFrame({"first": ends[0], "second": ends[1], "difference": links.difference})
    closest = closest.filter(pl.col("first") != pl.col("second")).group_by("first", "second").agg(pl.min("difference"))
    links = Links.of(closest.sort("first", "second"))
    limit = max(HANDFUL, int(MAX_SHARE * len(atoms)))
    clusters, refused = complete_linkage(sizes, links, limit)
    if refused:
        notes.append(
            f"clusters of products that look alike are cut at their weakest links, so that none has more than {limit} "
            f"products: {refused} merges were refused"
        )
    return clusters[atoms]


def _components(count: int, edges: Sequence[Indices]) -> Indices:
    rows, columns = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(count, count))
    part: Indices = connected_components(graph, directed=False)[1].astype(np.int64)
    return part


def _name_groups(product_ids: Sequence[str], groups: Sequence[str | None], part: Indices) -> list[str]:
    """Return each product's group id: the smallest group name in its part, or its smallest product id without one.

    A name that is a product id of another part is skipped, so that two parts never have the same id.
    """
    part_of = {product_id: int(part[row]) for row, product_id in enumerate(product_ids)}
    named = sorted((name, int(part[row])) for row, name in enumerate(groups) if name is not None)
    group_ids: dict[int, str] = {}
    for name, number in named:
        if part_of.get(name, number) == number:
            group_ids.setdefault(number, name)
    for product_id in sorted(product_ids):
        group_ids.setdefault(part_of[product_id], product_id)
    return [group_ids[int(number)] for number in part]

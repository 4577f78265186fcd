"""Stratified group k-fold that holds still: a changed row moves at most one group at each boundary between two bins.

Each class lays its groups end to end, in an order hashed from the seed, and cuts that line at the shares of test and of
the folds. A row that is added, removed or relabelled shifts the cuts of its class by less than a product, and no other
class. No rule that looks only at the present table can move nothing and keep the shares (docs/decisions.md).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate

import polars as pl

from pipeline_lib.splitting.places import ALWAYS_TRAIN, name_some

Label = str | None


def assign_folds(
    products: pl.DataFrame,
    num_folds: int,
    test_fraction: float,
    seed: int,
    pinned: Mapping[str, int] | None = None,
) -> tuple[list[int], list[str]]:
    """Return the bin of each product (its fold, TEST or ALWAYS_TRAIN) and notes for the user.

    Reads the columns group_id and label. A group counts for its most frequent label. With n groups or more, where n is
    the number of bins, a class has within one group (its largest) of its share of products in each bin. With fewer it
    is in the folds only, because otherwise it could not be validated. The only group of a class is always in training:
    the model of the fold that held it out could not learn the class. A rare label among others of a group does not
    decide, so that one misspelt label moves nothing. `pinned` has the bins of groups that stay; the others are assigned
    around them.
    """
    contents, num_groups = _contents(products)
    single = {label for label, number in num_groups.items() if label is not None and number == 1}
    bins = dict(pinned or {})
    classes: dict[Label, dict[str, int]] = {}
    for group_id, counts in contents.items():
        main = max(counts, key=lambda label: (label is not None, counts[label], label))
        if main in single:
            bins.setdefault(group_id, ALWAYS_TRAIN)
        if bins.get(group_id) != ALWAYS_TRAIN:
            classes.setdefault(main, {})[group_id] = sum(counts.values())
    shares = [test_fraction, *[(1 - test_fraction) / num_folds] * num_folds]
    num_bins = num_folds + (test_fraction > 0)
    for label, sizes in classes.items():
        own = shares if len(sizes) >= num_bins else [0.0, *[1 / num_folds] * num_folds]
        bins |= _assign_class(sizes, bins, own, _hasher(seed), repr(label))
    free = {label for group_id, counts in contents.items() if bins[group_id] == ALWAYS_TRAIN for label in counts}
    small = {label: number for label, number in num_groups.items() if label is not None and 1 < number < num_bins}
    notes = _class_notes(single & free, small, num_folds, test_fraction)
    return [bins[group_id] for group_id in products["group_id"]], notes


def _contents(products: pl.DataFrame) -> tuple[dict[str, dict[Label, int]], dict[Label, int]]:
    """Return the number of products of each label in each group, and the number of groups that have each label."""
    contents: dict[str, dict[Label, int]] = {}
    num_groups: dict[Label, int] = {}
    for group_id, label, size in products.group_by("group_id", "label").len().iter_rows():
        contents.setdefault(group_id, {})[label] = size
        num_groups[label] = num_groups.get(label, 0) + 1
    return contents, num_groups


def _assign_class(
    sizes: Mapping[str, int], bins: Mapping[str, int], shares: Sequence[float], hashed: Callable[[str], float], key: str
) -> dict[str, int]:
    """Return the bins of the groups of one class that `bins` lacks; shares[bin + 1] is the share of a bin.

    A group belongs to the bin in which a point of it lies, at the same fraction of each group, hashed from `key`. So
    chance decides for each class which bins get the odd groups, and over many classes the shares are exact.
    """
    free = sorted((group_id for group_id in sizes if group_id not in bins), key=lambda one: (hashed(one), one))
    if not free:
        return {}
    weights = _weights(sizes, max(shares))
    loads: list[list[float]] = [[] for _ in shares]
    for group_id in sizes:
        if group_id in bins:
            loads[bins[group_id] + 1].append(weights[group_id])
    # fsum rounds once, so that sums do not depend on the order of rows.
    total = math.fsum(weights.values())
    wanted = [share * total - math.fsum(load) for share, load in zip(shares, loads, strict=True)]
    widths = _room(wanted, math.fsum(weights[group_id] for group_id in free))
    ends, last = list(accumulate(widths)), max(place for place, width in enumerate(widths) if width > 0)
    point, start, place = hashed(key), 0.0, 0
    assigned = {}
    for group_id in free:
        while place < last and ends[place] <= start + point * weights[group_id]:
            place += 1
        assigned[group_id] = place - 1
        start += weights[group_id]
    return assigned


def _weights(sizes: Mapping[str, int], share: float) -> dict[str, float]:
    """Return the length of each group on the line of its class: its size, at most `share` of the line.

    Without this limit, a group larger than a bin would leave bins empty beside it. If even equal lengths exceed it, the
    class has so few groups that each counts as one.
    """
    rest, limit = sum(sizes.values()), share * sum(sizes.values())
    for number, size in enumerate(sorted(sizes.values(), reverse=True), start=1):
        if size <= limit:
            return {group_id: min(float(size), limit) for group_id, size in sizes.items()}
        rest -= size
        if number * share >= 1:
            break
        limit = share * rest / (1 - number * share)
    return dict.fromkeys(sizes, 1.0)


def _room(wanted: Sequence[float], amount: float) -> list[float]:
    """Return how much of `amount` each bin gets: what it still wants, less the same for all if that is too much.

    >>> _room([2.0, 1.0, -1.0], 2.0)
    [1.5, 0.5, 0.0]
    """
    level, covered = 0.0, 0.0
    ordered = sorted((one for one in wanted if one > 0), reverse=True)
    for number, one in enumerate(ordered, start=1):
        if one <= level:
            break
        covered += one
        level = (covered - amount) / number
    return [max(0.0, one - level) for one in wanted]


def _hasher(seed: int) -> Callable[[str], float]:
    """Return a hash of a text to 0 .. 1."""
    key = str(seed).encode()
    return lambda text: int.from_bytes(blake2b(text.encode(), digest_size=8, key=key).digest()) / 2**64


def _class_notes(single: set[str], small: dict[str, int], num_folds: int, test_fraction: float) -> list[str]:
    notes = []
    if single:
        notes.append(f"classes with a single group, always trained on and held out in no fold: {name_some(single)}")
    if small:
        bins = f"{num_folds} folds" + (" and test" if test_fraction else "")
        listed = name_some(f"{label} ({number})" for label, number in small.items())
        notes.append(f"classes with fewer groups than there are bins ({bins}), so that some hold none: {listed}")
    return notes

"""Stratified group k-fold: assigns groups of products to folds and test, with each class spread evenly.

One pass visits the groups in an order hashed from the seed. Each group goes to the bin with the largest deficit of its
class, ties to the bin with the largest deficit overall. Every class stays within one group of its share. A new product
or a corrected label can move many other products to another bin. A class of a single group is always in training and
held out in no fold, because the model of the fold that holds it out could not learn it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import polars as pl

TEST = -1
ALWAYS_TRAIN = -2
NUM_NAMED = 5


@dataclass
class _Class:
    """One class during assignment: its number of groups, and how many products each bin still needs."""

    num_groups: int
    deficits: list[float]


def assign_folds(
    products: pl.DataFrame, num_folds: int, test_fraction: float, seed: int
) -> tuple[list[int], list[str]]:
    """Return the bin of each product (its fold, TEST or ALWAYS_TRAIN) and notes for the user.

    Reads the columns group_id and label. During assignment test is the last bin.
    """
    contents: dict[str, dict[str | None, int]] = {}
    totals: dict[str | None, int] = {}
    num_groups: dict[str | None, int] = {}
    for group_id, label in products.select("group_id", "label").iter_rows():
        counts = contents.setdefault(group_id, {})
        if label not in counts:
            num_groups[label] = num_groups.get(label, 0) + 1
        counts[label] = counts.get(label, 0) + 1
        totals[label] = totals.get(label, 0) + 1
    single = sorted(label for label, number in num_groups.items() if label is not None and number == 1)
    bins = {group_id: ALWAYS_TRAIN for group_id, counts in contents.items() if not counts.keys().isdisjoint(single)}
    for group_id in bins:
        for label, size in contents[group_id].items():
            totals[label] -= size
    shares = [(1 - test_fraction) / num_folds] * num_folds + ([test_fraction] if test_fraction else [])
    classes = {label: _Class(num_groups[label], [share * total for share in shares]) for label, total in totals.items()}
    overall = [share * sum(totals.values()) for share in shares]
    for group_id in _shuffled((group_id for group_id in contents if group_id not in bins), seed):
        counts = contents[group_id]
        main = classes[max(counts, key=lambda label: (label is not None, counts[label], label))]
        # A class with fewer groups than bins goes to the folds only, because otherwise it could not be validated.
        num_bins = len(shares) if main.num_groups >= len(shares) else num_folds
        chosen = max(range(num_bins), key=lambda number: (main.deficits[number], overall[number]))
        for label, size in counts.items():
            classes[label].deficits[chosen] -= size
            overall[chosen] -= size
        bins[group_id] = chosen if chosen < num_folds else TEST
    small = {label: number for label, number in num_groups.items() if label is not None and 1 < number < len(shares)}
    return [bins[group_id] for group_id in products["group_id"]], _class_notes(single, small, num_folds, test_fraction)


def _shuffled(group_ids: Iterable[str], seed: int) -> list[str]:
    key = str(seed).encode()
    return sorted(group_ids, key=lambda group_id: blake2b(group_id.encode(), digest_size=16, key=key).digest())


def _class_notes(single: list[str], small: dict[str, int], num_folds: int, test_fraction: float) -> list[str]:
    notes = []
    if single:
        notes.append(f"classes with a single group, always trained on and held out in no fold: {name_some(single)}")
    if small:
        bins = f"{num_folds} folds" + (" and test" if test_fraction else "")
        listed = name_some(f"{label} ({number})" for label, number in small.items())
        notes.append(f"classes with fewer groups than there are bins ({bins}), so that some hold none: {listed}")
    return notes


def name_some(names: Iterable[str]) -> str:
    """Return the first few names in sorted order, and the number of the others."""
    ordered = sorted(names)
    more = f" and {len(ordered) - NUM_NAMED} more" if len(ordered) > NUM_NAMED else ""
    return ", ".join(ordered[:NUM_NAMED]) + more

"""Deals groups of products into folds and test so that each class is spread evenly.

Groups come in an order hashed from the seed, and each goes to the bin that lacks most of its class, then most of all:
one pass, every class within one group of its share, and a new product moves few others. A class of a single group is
always trained on and held out in no fold, since the model of a fold that held it could not have learnt it.
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
    """What is known of one class while dealing: its groups, and what each bin still lacks of it."""

    num_groups: int
    lacks: list[float]


def assign_folds(
    products: pl.DataFrame, num_folds: int, test_fraction: float, seed: int
) -> tuple[list[int], list[str]]:
    """Return the bin of each product: its fold, TEST or ALWAYS_TRAIN; test is the last bin while dealing."""
    contents: dict[str, dict[str | None, int]] = {}
    totals: dict[str | None, int] = {}
    num_groups: dict[str | None, int] = {}
    for group_id, label in products.select("group_id", "label").iter_rows():
        inside = contents.setdefault(group_id, {})
        if label not in inside:
            num_groups[label] = num_groups.get(label, 0) + 1
        inside[label] = inside.get(label, 0) + 1
        totals[label] = totals.get(label, 0) + 1
    single = sorted(label for label, number in num_groups.items() if label is not None and number == 1)
    bins = {group_id: ALWAYS_TRAIN for group_id, inside in contents.items() if not inside.keys().isdisjoint(single)}
    for group_id in bins:
        for label, size in contents[group_id].items():
            totals[label] -= size
    shares = [(1 - test_fraction) / num_folds] * num_folds + ([test_fraction] if test_fraction else [])
    classes = {label: _Class(num_groups[label], [share * total for share in shares]) for label, total in totals.items()}
    overall = [share * sum(totals.values()) for share in shares]
    for group_id in _shuffled((group_id for group_id in contents if group_id not in bins), seed):
        inside = contents[group_id]
        main = classes[max(inside, key=lambda label: (label is not None, inside[label], label))]
        # A class too small for all bins serves the folds first: without them it could not be validated at all.
        choice = len(shares) if main.num_groups >= len(shares) else num_folds
        chosen = max(range(choice), key=lambda place: (main.lacks[place], overall[place]))
        for label, size in inside.items():
            classes[label].lacks[chosen] -= size
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
        notes.append(
            f"classes with a single group to deal, always trained on and held out in no fold: {name_some(single)}"
        )
    if small:
        bins = f"{num_folds} folds" + (" and test" if test_fraction else "")
        told = name_some(f"{label} ({number})" for label, number in small.items())
        notes.append(f"classes with fewer groups than there are bins ({bins}), so that some hold none: {told}")
    return notes


def name_some(names: Iterable[str]) -> str:
    """Return the first few names in order, and how many more there are."""
    every = sorted(names)
    more = f" and {len(every) - NUM_NAMED} more" if len(every) > NUM_NAMED else ""
    return ", ".join(every[:NUM_NAMED]) + more

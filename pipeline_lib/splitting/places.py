"""Numbers of the bins that are no fold, and how notes name products, groups and classes."""

from collections.abc import Iterable

TEST = -1
ALWAYS_TRAIN = -2
NUM_NAMED = 5


def name_some(names: Iterable[str]) -> str:
    """Return the first few names in sorted order, and the number of the others.

    >>> name_some("gcbadfe")
    'a, b, c, d, e and 2 more'
    """
    ordered = sorted(names)
    more = f" and {len(ordered) - NUM_NAMED} more" if len(ordered) > NUM_NAMED else ""
    return ", ".join(ordered[:NUM_NAMED]) + more

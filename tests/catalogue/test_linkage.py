"""Complete linkage: no chains, equal to a slow agglomeration, and cut at the weakest links."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.catalogue.linkage import Links, complete_linkage


def links_of(found):
    first, second, difference = ([link[place] for link in found] for place in range(3))
    return Links(np.array(first, np.int64), np.array(second, np.int64), np.array(difference, np.float32))


def clusters(count, found, max_size=1_000, sizes=None):
    numbers, refused = complete_linkage(np.array(sizes or [1] * count), links_of(found), max_size)
    return sorted(sorted(np.flatnonzero(numbers == number).tolist()) for number in set(numbers.tolist())), refused


def test_a_like_b_and_b_like_c_do_not_join_a_and_c():
    assert clusters(3, [(0, 1, 0.1), (1, 2, 0.2)])[0] == [[0, 1], [2]]
    assert clusters(3, [(0, 1, 0.1), (1, 2, 0.2), (0, 2, 0.3)])[0] == [[0, 1, 2]]
    assert clusters(3, [(0, 1, 0.3), (1, 2, 0.2)])[0] == [[0], [1, 2]]


def slow(count, found, max_size):
    """Merge, again and again, the two clusters with all links between them and the smallest largest difference."""
    groups = [[item] for item in range(count)]
    known = {frozenset(link[:2]): link[2] for link in found}
    while True:
        best = None
        for place, one in enumerate(groups):
            for other in groups[place + 1 :]:
                between = [known.get(frozenset((a, b))) for a in one for b in other]
                if (
                    None not in between
                    and len(one) + len(other) <= max_size
                    and (best is None or max(between) < best[0])
                ):
                    best = (max(between), one, other)
        if best is None:
            return sorted(groups)
        groups = [group for group in groups if group not in best[1:]] + [sorted(best[1] + best[2])]


@settings(max_examples=60)
@given(data=st.data(), count=st.integers(2, 8), max_size=st.integers(2, 9))
def test_clusters_equal_a_slow_agglomeration(data, count, max_size):
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    chosen = data.draw(st.lists(st.sampled_from(pairs), unique=True))
    order = data.draw(st.permutations(range(len(chosen))))
    found = [(a, b, float(rank)) for (a, b), rank in zip(chosen, order, strict=True)]
    assert clusters(count, found, max_size)[0] == slow(count, found, max_size)


def test_an_oversize_cluster_is_cut_at_its_weakest_links():
    pairs = [(a, b, 0.9) for a in range(6) for b in range(a + 1, 6)]
    strong = [(a, b, 0.1 if (a < 3) == (b < 3) else weak) for a, b, weak in pairs]
    assert clusters(6, strong, max_size=5) == ([[0, 1, 2], [3, 4, 5]], 1)
    assert clusters(2, [(0, 1, 0.1)], max_size=4, sizes=[3, 2]) == ([[0], [1]], 1)

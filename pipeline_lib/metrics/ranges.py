"""The smallest and the largest value that a published figure can have, and intervals within them.

Student's t knows no bounds: the interval of a mean of two seeds reaches 9 standard deviations to each side, often far
below 0 or above 100 %. The true figure is never there, so an interval that is cut at the bounds covers it as often.
"""

import math


def figure_range(figure: str, num_gallery: float = math.inf) -> tuple[float, float]:
    """Return the smallest and the largest value of a figure; `num_gallery` is the size of a ranking's gallery.

    >>> figure_range("R@1"), figure_range("mean_rank", 500), figure_range("sum")
    ((0.0, 1.0), (1.0, 500.0), (0.0, 6.0))
    """
    if figure.endswith("_rank"):
        return 1.0, float(num_gallery)
    return 0.0, 6.0 if figure == "sum" else 1.0  # the sum of R@1, R@5 and R@10 in both directions


def cut_difference(limits: tuple[float, float], width: float) -> tuple[float, float]:
    """Return the limits of a difference of two figures, at most `width` from 0; those of no interval stay infinite.

    >>> cut_difference((-3.2, 0.4), 1.0), cut_difference((-math.inf, math.inf), 1.0)
    ((-1.0, 0.4), (-inf, inf))
    """
    low, high = limits
    return (max(low, -width) if math.isfinite(low) else low), (min(high, width) if math.isfinite(high) else high)

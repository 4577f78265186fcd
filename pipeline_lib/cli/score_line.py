"""The score of a prediction file as text: each figure beside that of a random order of the same gallery."""

from collections.abc import Mapping

from pipeline_lib.report.headline import percent

NO_CHANCE = "chance is not known without the list of images"


def score_line(figures: Mapping[str, float], chance: Mapping[str, float]) -> str:
    """Return shares as percentages with two decimals, each with its chance if that is known.

    >>> score_line({"R@1": 0.5}, {"R@1": 1 / 9})
    'R@1 50.00 % (chance 11.1 %)'
    >>> score_line({"R@1": 0.5}, {})
    'R@1 50.00 %; chance is not known without the list of images'
    """
    parts = [
        f"{name} {value * 100:.2f} %" + (f" (chance {percent(chance[name])})" if name in chance else "")
        for name, value in figures.items()
    ]
    return ", ".join(parts) + ("" if figures.keys() <= chance.keys() else f"; {NO_CHANCE}")

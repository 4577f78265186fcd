"""Short names of classes: the last part of a path like `Home > Kitchen > Mugs`, with the whole path on hover.

The labels are paths if most of them have the same separator: one `T-shirt/top` among ten classes is a name.
"""

import re
from collections import Counter
from collections.abc import Iterable
from html import escape

from markupsafe import Markup

SEPARATORS = (">", "/", "|", "::", "›", "»", "\\")
LONGEST_NAME = 24


class ClassNames:
    """The short name of each label: the fewest last parts of its path that no other label ends with."""

    def __init__(self, labels: Iterable[str]) -> None:
        self.labels = sorted(set(labels))
        self._separator = _separator(self.labels)
        parts = {label: self.parts(label) for label in self.labels}
        ends = Counter(own[-size:] for own in parts.values() for size in range(1, len(own) + 1))
        self._short = {label: self._joined(own, ends) for label, own in parts.items()}

    @property
    def are_paths(self) -> bool:
        """Return whether the labels are paths."""
        return self._separator is not None

    def parts(self, label: str) -> tuple[str, ...]:
        """Return the parts of a label's path, the whole label if it is none."""
        if self._separator is None:
            return (label,)
        return tuple(part.strip() for part in label.split(self._separator) if part.strip()) or (label,)

    def short(self, label: str) -> str:
        """Return the short name; a label that was not among the labels is its own."""
        return self._short.get(label, label)

    def is_shortened(self, label: str) -> bool:
        """Return whether the short name is not the whole label."""
        return self.short(label) != label

    def html(self, label: str | None) -> Markup:
        """Return the short name as HTML, with the whole path on hover if it is another one."""
        name = self.short(label or "")
        if name == (label or ""):
            return Markup(f"<bdi>{escape(name)}</bdi>")
        return Markup(f'<bdi class="leaf" title="{escape(label or "")}">{escape(name)}</bdi>')

    def _joined(self, parts: tuple[str, ...], ends: Counter[tuple[str, ...]]) -> str:
        own = next((parts[-size:] for size in range(1, len(parts)) if ends[parts[-size:]] == 1), parts)
        joint = f" {self._separator} " if self._separator == ">" else self._separator or ""
        return joint.join(own)


def _separator(labels: list[str]) -> str | None:
    """Return what most labels, and at least two, have between two parts, the most frequent one first."""
    found = {
        sign: sum(re.search(rf"\S\s*{re.escape(sign)}\s*\S", label) is not None for label in labels)
        for sign in SEPARATORS
    }
    best = max(SEPARATORS, key=lambda sign: found[sign])
    return best if found[best] >= 2 and 2 * found[best] >= len(labels) else None


def shortened(name: str) -> str:
    """Return a name for the edge of a matrix, cut if it is long.

    >>> shortened("Mugs"), len(shortened("M" * 60))
    ('Mugs', 24)
    """
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"

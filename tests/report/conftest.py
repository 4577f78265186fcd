"""Builds a made run, and parses its page."""

from html.parser import HTMLParser

import pytest
from made_run import Run, build_run


@pytest.fixture
def make_run(tmp_path):
    """Return the builder: options of Run -> a Run with all of its files under its root."""

    def make(**options) -> Run:
        folder = options.pop("folder", "run")
        (tmp_path / folder).mkdir()
        return build_run(Run(tmp_path / folder, **options))

    return make


VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """The elements of a page as (tag, attributes, inner text), in order; badly nested tags fail."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements, self.open = [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag, self.getpos()

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def all(self, tag, **data):
        """Return (attributes, text) of every element of a tag with these data-... attributes."""
        named = {f"data-{key}": value for key, value in data.items()}
        return [(a, t) for kind, a, t in self.elements if kind == tag and named.items() <= a.items()]


@pytest.fixture
def parse():
    """Return the parser: page text -> Page."""
    return Page

"""Fixtures for tests of the readers: params, a CSV file and image files."""

from pathlib import Path

import pytest

from pipeline_lib.params.data import DataParams
from pipeline_lib.params.section import load_params, parse_section

REPO = Path(__file__).parents[2]


@pytest.fixture
def reader_params(tmp_path):
    """Return the data section of params.yaml with the test's folder as root and the given changes."""
    project = parse_section(DataParams, load_params(REPO / "params.yaml"))

    def build(columns=None, **changes):
        chosen = project.columns.model_copy(update=columns or {})
        return project.model_copy(update={"root": str(tmp_path), "columns": chosen} | changes)

    return build


@pytest.fixture
def table(tmp_path):
    """Write a CSV file in the root from a string or bytes."""

    def write(content, name="products.csv"):
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


@pytest.fixture
def touch(tmp_path):
    """Create empty files in the image folder."""

    def make(*names, folder="images"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            (tmp_path / folder / name).touch()

    return make

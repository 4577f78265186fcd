"""Fixtures for tests of the catalogue: params, generated photos and records."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline_lib.catalogue.schema import RECORDS, REJECTS, Records
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.section import load_params, parse_section

REPO = Path(__file__).parents[2]


@pytest.fixture
def data_params(tmp_path):
    """Return the data section of params.yaml with the test's folder as root and the given changes."""
    project = parse_section(DataParams, load_params(REPO / "params.yaml"))

    def build(**changes):
        return project.model_copy(update={"root": str(tmp_path), "max_reject_fraction": 1.0} | changes)

    return build


@pytest.fixture
def photo(tmp_path):
    """Write a photo of smooth random colour patches; equal seeds give equal pixels."""

    def draw(name, seed=0, size=(96, 96), **save):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        patches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC).save(path, **save)
        return path

    return draw


@pytest.fixture
def records():
    """Return the records of products that are given as dictionaries."""

    def build(rows, num_rows=None):
        defaults = {"text": "words", "label": None, "group": None, "split": None, "fold": None}
        full = [{"row": place, **defaults, **row} for place, row in enumerate(rows, start=2)]
        return Records("t.csv", num_rows or len(rows), pl.DataFrame(full, schema=RECORDS), pl.DataFrame(schema=REJECTS))

    return build

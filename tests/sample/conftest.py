"""Puts the package of the built-in sample, which is in data/sample, on the path of these tests."""

import sys
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
sys.path.insert(0, str(SAMPLE))

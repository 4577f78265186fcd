"""The sample's package lives beside its data, not in the library: these tests alone put it on the path."""

import sys
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
sys.path.insert(0, str(SAMPLE))

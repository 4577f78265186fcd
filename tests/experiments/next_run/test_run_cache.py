"""DVC's run cache ignores a key `size` or `nfiles` inside a section (3.67.1), so dvc.yaml declares such keys alone.

It takes a run of another size for this one and restores its outs. When DVC mends that, the first test fails, and
dvc.yaml and tests/architecture/test_dvc_yaml.py can do without.
"""

from pathlib import Path

import pytest
from quick_dvc import run_dvc

PIPELINE = """
stages:
  first:
    cmd: cp params.yaml first.txt
    deps: [data.txt]
    params: [{params}]
    outs: [first.txt]
"""


@pytest.mark.parametrize(
    ("declared", "restored"), [("model", True), ("model, model.image.size", False), ("model.image.size", False)]
)
def test_a_run_of_another_size_is_not_restored_if_the_key_is_declared(tmp_path, declared, restored):
    (tmp_path / "dvc.yaml").write_text(PIPELINE.format(params=declared), encoding="utf-8")
    (tmp_path / "data.txt").write_text("data", encoding="utf-8")
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    printed = {}
    for size in (64, 72):
        (tmp_path / "params.yaml").write_text(f"model:\n  image:\n    size: {size}\n", encoding="utf-8")
        printed[size] = dvc(tmp_path, "repro")
    assert ("is cached - skipping run" in printed[72]) == restored
    assert ("72" in (tmp_path / "first.txt").read_text(encoding="utf-8")) != restored


def dvc(folder: Path, *arguments: str) -> str:
    return run_dvc(folder, *arguments).stdout

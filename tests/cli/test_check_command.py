"""`vitrine check`: what DVC would report without a way out is one line."""

import shutil
from pathlib import Path

import pytest

from pipeline_lib.params.all_sections import check_params

ROOT = Path(__file__).parents[2]


@pytest.fixture
def params(tmp_path):
    """params.yaml in a folder of its own, with the folders that it names but data.root."""
    for name in ("data/starts", "data/predictions", "data/splits"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path / "params.yaml"


def test_a_missing_data_root_is_one_line_with_the_way_out(params):
    """`dvc repro` says only `[Errno 2] No such file or directory`."""
    with pytest.raises(ValueError, match=r"data.root = 'data/sample/products', but there is no such folder. Put a"):
        check_params(params)


@pytest.mark.parametrize("present", ["data/sample/products.dvc", "data/sample/dvc.yaml", "data/sample/products/t.csv"])
def test_a_root_that_is_there_or_that_dvc_can_make_passes(params, present):
    path = params.parent / present
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    check_params(params)


def test_an_empty_root_is_refused(params):
    """It would be the project itself."""
    params.write_text(params.read_text(encoding="utf-8").replace("root: data/sample/products", "root: ''"), "utf-8")
    with pytest.raises(ValueError, match=r"data.root = '': string should have at least 1 character"):
        check_params(params)

"""The picture of a query has the colours that the shards give the same file, whatever its colour profile."""

import shutil

import numpy as np
import pytest
from drawn_files import encoded, rgb_profile
from PIL import Image
from served_project import SIZE

from pipeline_lib.serving.model import open_served
from pipeline_lib.shards.photo import store_photo
from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.image import fixed_view

RED = Image.new("RGB", (48, 48), (200, 40, 40))


@pytest.mark.parametrize(("setting", "red"), [("convert", 218), ("ignore", 200)])
def test_a_display_p3_picture_is_searched_in_the_colours_of_the_shards(
    setting, red, served_root, tmp_path, monkeypatch
):
    root = shutil.copytree(served_root, tmp_path / "shop")
    params = (root / "params.yaml").read_text(encoding="utf-8")
    assert "colour_profile: convert" in params
    (root / "params.yaml").write_text(params.replace("colour_profile: convert", f"colour_profile: {setting}"), "utf-8")
    monkeypatch.chdir(root)
    picture = encoded(RED, "JPEG", quality=100, icc_profile=rgb_profile("Display P3"))
    view = open_served("fold 0", root, 0).pictures.view(picture, 1_000_000).astype(int)
    stored = store_photo(picture, SIZE, 100, convert_profile=setting == "convert")
    assert np.abs(view - fixed_view(decode(stored.data), SIZE)).max() <= 3
    assert abs(view[0, 0, 0] - red) <= 4

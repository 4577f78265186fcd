"""The stores and the card of a teacher: damaged in any way, each is one line with its name."""

from damages import GROSS, refused_damages
from teacher_project import write_random_teacher
from tiny_project import write_project

from pipeline_lib.loading.products import read_photos_fingerprint
from pipeline_lib.stores.teacher_store import has_card, open_teacher


def test_a_teachers_stores(tmp_path):
    inputs = write_project(tmp_path / "project", count=12)
    folder = write_random_teacher(inputs, "old", 6, 0)
    photos = read_photos_fingerprint(inputs.shards / "manifest.parquet")

    def read():
        has_card(folder, "old")
        open_teacher(folder, 0, photos)

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.name for path in files} == {"teacher.json", "header.json", "ids.parquet", "matrix.npy"}
    refused, accepted = refused_damages(files, read)
    assert {file for file, _ in refused} == {path.name for path in files}
    assert not {one for one in accepted if one[1] in GROSS}

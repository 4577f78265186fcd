"""No reader opens a file outside data.root: neither one that params or a table names, nor by way of a link."""

import json
import os
from pathlib import Path

import pytest
from written_composed import write_circo, write_cirr, write_fashion_iq
from written_karpathy import write_karpathy
from written_msr_vtt import write_msr_vtt
from written_muge import write_muge
from written_tables import reader_params, table  # noqa: F401

from pipeline_lib.artifacts import path_guard
from pipeline_lib.datasets.captions import media_paths
from pipeline_lib.datasets.clip_names import with_endings
from pipeline_lib.datasets.readers import READERS, read_records
from pipeline_lib.datasets.sample_submission import read_sample
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.section import load_params, parse_section

MARK = "only-the-other-machine-knows-this"
REPO = Path(__file__).parents[2]


def write_table(root: Path) -> None:
    root.mkdir(exist_ok=True)
    (root / "products.csv").write_text("id,title\n1,a mug\n2,a hat\n", encoding="utf-8")
    (root / "queries.csv").write_text("query_id,reference_id,text,target_id\nq,1,in red,2\n", encoding="utf-8")
    (root / "sample.csv").write_text("id,label\n1,x\n", encoding="utf-8")


def write_captions(root: Path) -> None:
    root.mkdir(exist_ok=True)
    (root / "captions.csv").write_text("image,caption\na.jpg,a mug\n", encoding="utf-8")


def write_clips(root: Path) -> None:
    root.mkdir(exist_ok=True)
    write_msr_vtt(root, clips=False)


LISTS = {"train_videos": "MSRVTT_train.9k.csv", "test_videos": "MSRVTT_JSFUSION_test.csv"}
# Reader, what writes its files, params, and the files that it opens.
CASES = [
    ("csv_table", write_table, {"table": "products.csv", "queries": "queries.csv"}, ["products.csv", "queries.csv"]),
    ("csv_table", write_table, {"table": "products.csv", "sample_submission": "sample.csv"}, ["sample.csv"]),
    ("captions_csv", write_captions, {}, ["captions.csv"]),
    ("karpathy", write_karpathy, {}, ["dataset_coco.json"]),
    ("muge", write_muge, {}, ["train_imgs.tsv", "train_queries.jsonl", "valid_imgs.tsv", "test_queries.jsonl"]),
    ("muge", lambda root: write_muge(root, "texts"), {}, ["valid_texts.jsonl"]),
    ("msr_vtt", write_clips, LISTS, ["MSRVTT_data.json", *LISTS.values()]),
    ("cirr", write_cirr, {}, ["captions/cap.rc2.val.json", "image_splits/split.rc2.val.json"]),
    ("fashion_iq", write_fashion_iq, {}, ["captions/cap.dress.val.json", "image_splits/split.dress.val.json"]),
    ("circo", lambda root: write_circo(root, train=True), {},
     ["annotations/val.json", "annotations/train.json",
      "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json"]),
]  # fmt: skip
FILES = [(kind, write, settings, file) for kind, write, settings, files in CASES for file in files]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root in a DVC project, which is the working folder; `outside` lies beside the project."""
    (tmp_path / "project/.dvc").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project/raw"


def read(reader_params, root: Path, kind: str, settings: dict[str, str]) -> None:  # noqa: F811
    data = reader_params(root=str(root), reader=kind, **settings)
    read_sample(data)
    read_records(data)


def test_every_reader_is_in_the_table_and_reads_its_files(root, reader_params):  # noqa: F811
    assert {case[0] for case in CASES} == set(READERS)
    for number, (kind, write, settings, files) in enumerate(CASES):
        own = root.parent / f"raw{number}"
        write(own)
        read(reader_params, own, kind, settings)
        assert all((own / file).is_file() for file in files)


@pytest.mark.parametrize(("kind", "write", "settings", "file"), FILES)
def test_a_file_that_is_a_link_out_of_the_project_is_refused(root, reader_params, kind, write, settings, file):  # noqa: F811
    write(root)
    away = root.parents[1] / "outside/secret"
    (root / file).rename(away)
    away.write_bytes(away.read_bytes() + MARK.encode())
    away.chmod(0)  # root of a container may read it nevertheless, so the message decides
    (root / file).symlink_to(away)
    with pytest.raises(ValueError, match="link leaves the data root, so it is not read; copy the file into") as error:
        read(reader_params, root, kind, settings)
    line = str(error.value)
    assert line.startswith(str(root / file)) and "\n" not in line
    assert MARK not in line and "secret" not in line


@pytest.mark.parametrize(("kind", "write", "settings", "file"), FILES)
def test_links_into_the_cache_and_linked_folders_of_the_project_are_read(
    root,
    reader_params,  # noqa: F811
    kind,
    write,
    settings,
    file,
):
    write(root)
    cached = root.parent / ".dvc/cache/files/md5/ab/12"
    cached.parent.mkdir(parents=True)
    (root / file).rename(cached)
    (root / file).symlink_to(cached)
    read(reader_params, root, kind, settings)
    if (folder := (root / file).parent) != root:
        folder.rename(root.parent / "elsewhere")
        folder.symlink_to(root.parent / "elsewhere")
        read(reader_params, root, kind, settings)


SETTINGS = ["table", "queries", "train_videos", "test_videos", "sample_submission", "image_folder"]


@pytest.mark.parametrize("name", ["../t.csv", "a/../../t.csv", "/t.csv", "a\\..\\t.csv", "C:\\t.csv"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_leads_out_of_the_root_is_refused_before_anything_is_read(setting, name):
    params = load_params(REPO / "params.yaml")
    params["data"][setting] = name
    with pytest.raises(ValueError, match=rf"^params\.yaml: data\.{setting} = .*: write a path inside data\.root") as e:
        parse_section(DataParams, params)
    assert "\n" not in str(e.value)


def test_settings_that_name_files_of_the_root_are_all_in_the_table():
    """A new setting of this kind has to say what it may name."""
    texts = {name for name, field in DataParams.model_fields.items() if "inside root" in (field.description or "")}
    assert texts == set(SETTINGS)


@pytest.mark.parametrize("name", ["../../outside/a.jpg", "/outside/a.jpg", "a/../../../outside/a.jpg"])
def test_names_of_photos_and_clips_outside_stay_unsafe_and_no_folder_there_is_listed(root, name, monkeypatch):
    """The check of photos then rejects them, before it opens anything."""
    root.mkdir()
    (root / "images").mkdir()
    (root / "images/a.jpg").touch()
    (root.parents[1] / "outside/a.jpg").touch()
    listed: list[str] = []
    real = os.listdir
    monkeypatch.setattr("os.listdir", lambda folder=".": listed.append(str(folder)) or real(folder))
    named = [*media_paths([name], root, "images"), *with_endings([name.removesuffix(".jpg")], root, "images")]
    assert len(named) == 2 and not any(map(path_guard.is_inner, named))
    assert not [folder for folder in listed if ".." in folder or folder.startswith("/outside")]


def test_the_listing_of_coco_beside_the_root_is_not_read(root, reader_params):  # noqa: F811
    write_circo(root)
    (root / "COCO2017_unlabeled/annotations").rename(root.parent / "annotations")
    (root.parent / "COCO2017_unlabeled").mkdir()
    (root.parent / "annotations").rename(root.parent / "COCO2017_unlabeled/annotations")
    records = read_records(reader_params(root=str(root), reader="circo"))
    assert records.num_rows == 6  # the images that are there, not the eight of the listing


def test_json_of_no_use_is_not_quoted_if_it_is_outside(root, reader_params):  # noqa: F811
    root.mkdir()
    away = root.parents[1] / "outside/settings.json"
    away.write_text(json.dumps({"images": [{"filename": MARK}]}), encoding="utf-8")
    (root / "dataset_coco.json").symlink_to(away)
    with pytest.raises(ValueError, match="link leaves the data root") as error:
        read(reader_params, root, "karpathy", {})
    assert MARK not in str(error.value)

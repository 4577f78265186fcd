"""MSR-VTT: the lists of 9k, 7k, 1k-A and the full test, and what is wrong with a file."""

# ruff: noqa: F811 (fixtures are imported by name)
import json

import pytest
from clip_tables import clip_table
from written_msr_vtt import CAPTIONS_EACH, SPLITS, msr_vtt_content, write_msr_vtt
from written_tables import reader_params  # noqa: F401

from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.datasets.msr_vtt import read_msr_vtt
from pipeline_lib.datasets.readers import READERS

NINE = {"train_videos": "MSRVTT_train.9k.csv", "test_videos": "MSRVTT_JSFUSION_test.csv"}
SEVEN = {"train_videos": "MSRVTT_train.7k.csv", "test_videos": None}


def splits_of(records):
    return {split: [key for key, own in records.products.select("product_id", "split").iter_rows() if own == split]
            for split in ("train", "test")}  # fmt: skip


def reasons(records):
    return records.rejects.select("row", "product_id", "reason", "value", "action").rows()


def test_9k_trains_on_its_list_with_all_captions_and_tests_1k_a_with_one_sentence_each(tmp_path, reader_params):
    write_msr_vtt(tmp_path, clips=False)
    records = read_msr_vtt(reader_params(**NINE))
    assert splits_of(records) == {"train": [f"video{n}" for n in range(5)], "test": ["video5", "video6"]}
    assert records.num_rows == 7 and records.wording.unit == "clips" and records.rejects.is_empty()
    assert records.products["media"].to_list() == [[f"videos/video{n}.mp4"] for n in range(7)]
    assert records.products["row"].to_list() == [2, 3, 4, 5, 6, 2, 3]
    assert records.queries.height == len(records.relevance) == 5 * CAPTIONS_EACH + 2
    assert records.queries.select("query_id", "text", "split").rows()[-3:] == [
        ("video4#2", "caption 2 of clip 4", "train"),
        ("video5#0", "the one sentence of 5", "test"),
        ("video6#0", "the one sentence of 6", "test"),
    ]
    assert records.relevance.rows()[-1] == ("video6#0", "video6", 1)


def test_7k_trains_on_train_and_validate_and_tests_all_captions_of_the_full_test(tmp_path, reader_params):
    write_msr_vtt(tmp_path, clips=False)
    lists = {"train": [f"video{n}" for n in range(4)], "test": ["video4", "video5", "video6"]}
    listed = read_msr_vtt(reader_params(**SEVEN))
    by_json = read_msr_vtt(reader_params(train_videos=None, test_videos=None))
    for records in (listed, by_json):
        # No clip is of val: folds are made of training clips.
        assert splits_of(records) == lists and set(records.products["split"]) == {"train", "test"}
        assert records.queries.filter(split="test").height == 3 * CAPTIONS_EACH and records.rejects.is_empty()
    assert by_json.products["row"].to_list() == [1, 2, 3, 4, 5, 6, 7]


def test_a_full_test_with_several_sentences_a_clip_is_one_product_each(tmp_path, reader_params):
    write_msr_vtt(tmp_path, clips=False)
    (tmp_path / "full.csv").write_text("video_id,sentence\nvideo6,one\nvideo5,two\nvideo6,three\nvideo6,\n")
    records = read_msr_vtt(reader_params(train_videos="MSRVTT_train.7k.csv", test_videos="full.csv"))
    test = records.queries.filter(split="test")
    assert test.select("query_id", "text").rows() == [("video6#0", "one"), ("video6#1", "three"), ("video5#0", "two")]
    assert splits_of(records)["test"] == ["video6", "video5"]
    assert reasons(records) == [
        (None, None, "in neither list, so their captions are not used", "1 of 7 clips", "query dropped"),
        (2, "video6", "empty caption", "video6#2", "query dropped"),
    ]


def test_clips_that_are_trained_on_and_tested_are_named(tmp_path, reader_params):
    write_msr_vtt(tmp_path, clips=False)
    with pytest.raises(ValueError) as caught:
        read_msr_vtt(reader_params(train_videos="MSRVTT_train.9k.csv", test_videos=None))
    assert "MSRVTT_train.9k.csv: 1 of 5 clips are in MSRVTT_data.json, too: video4. No clip may" in str(caught.value)
    (tmp_path / "all.csv").write_text("video_id\n" + "".join(f"video{n}\n" for n in range(7)))
    with pytest.raises(
        ValueError, match="7 of 7 clips are in all.csv, too: video0, .*, video4 and others. No"
    ) as caught:
        read_msr_vtt(reader_params(train_videos="all.csv", test_videos="all.csv"))
    assert "\n" not in str(caught.value)


def test_unknown_and_repeated_ids_are_counted(tmp_path, reader_params):
    content = msr_vtt_content()
    content["videos"].append(content["videos"][0])
    content["sentences"] += [
        {"caption": "whose?", "video_id": "video99", "sen_id": 999},
        {"caption": "again", "video_id": "video1", "sen_id": 0},
        {"caption": " ", "video_id": "video1", "sen_id": 1000},
    ]
    write_msr_vtt(tmp_path, content, clips=False)
    with (tmp_path / "MSRVTT_train.9k.csv").open("a") as stream:
        stream.write("video2\nvideo77\n")
    with (tmp_path / "MSRVTT_JSFUSION_test.csv").open("a") as stream:
        stream.write("ret1,msr5,video5,again\nret9,msr88,video88,unknown\nret10,,,nothing\n")
    records = read_msr_vtt(reader_params(**NINE))
    assert sorted(reasons(records), key=str) == sorted(
        [
            (8, "video0", "duplicate id", "videos: video0", "query dropped"),
            (22, None, "unknown video_id", "999: video99: whose?", "query dropped"),
            (23, None, "sen_id twice", "0: video1: again", "query dropped"),
            (7, "video2", "duplicate id", "video2", "rejected"),
            (8, "video77", "unknown video_id", "video77", "rejected"),
            (4, "video5", "key twice", "ret1", "query dropped"),
            (5, "video88", "unknown video_id", "video88", "rejected"),
            (6, None, "empty id", "", "rejected"),
            (3, "video1", "empty caption", "video1#3", "query dropped"),
        ],
        key=str,
    )
    # Each row of the lists is a product or rejected.
    assert records.num_rows == 7 + 4 and len(records.products) == 7


@pytest.mark.parametrize(("folder", "ending"), [("images", "webm"), ("videos/all", "MP4"), ("MSRVTT_Videos", "avi")])
def test_clips_are_found_in_the_usual_folders_with_any_ending(tmp_path, reader_params, folder, ending):
    write_msr_vtt(tmp_path, folder=folder, ending=ending, clips=False)
    assert read_msr_vtt(reader_params(**NINE)).products["media"][0].to_list() == [f"{folder}/video0.{ending}"]


def test_a_missing_clip_is_a_counted_reject_and_its_queries_are_dropped(tmp_path, reader_params):
    write_msr_vtt(tmp_path)
    (tmp_path / "videos/video5.mp4").unlink()
    data = reader_params(**NINE, max_reject_fraction=0.5)
    records = read_msr_vtt(data)
    assert records.products["media"][5].to_list() == ["videos/video5.mp4"]
    catalogue = build_catalogue(records, data, 1, clips=clip_table(records, data, tmp_path / "frames"))
    assert len(catalogue.products) == 6 and catalogue.queries.filter(split="test").height == 1
    assert catalogue.rejects.select("product_id", "reason", "action").rows() == [
        ("video5", "missing image", "rejected"),
        (None, "its product was rejected", "query dropped"),
    ]


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"videos": None}, NINE, "MSRVTT_data.json: no list of `videos` in it; name MSRVTT_data.json in data.table"),
        ({"sentences": []}, NINE, "MSRVTT_data.json: no list of `sentences` in it"),
        ({"videos": ["video0"]}, NINE, "videos 1: a text, not an object"),
        ({"videos": [{"video_id": ["x"]}]}, NINE, "row 1: video_id = ['x']; write a text"),
        ({}, NINE | {"train_videos": "train.csv"}, "data.train_videos = 'train.csv': no such file in"),
        ({}, NINE | {"test_videos": "wrong.csv"}, "wrong.csv: no column video_id, which data.test_videos needs"),
        ({}, NINE | {"test_videos": "other.csv"}, "other.csv: none of its clips is in the JSON"),
        (
            {"videos": [{"video_id": "video0", "split": "train"}]},
            {"train_videos": None, "test_videos": None},
            "MSRVTT_data.json: no clip has the split test; name a CSV in data.test_videos",
        ),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, reader_params, changes, settings, message):
    write_msr_vtt(tmp_path, clips=False)
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps(msr_vtt_content() | changes))
    (tmp_path / "wrong.csv").write_text("clip,sentence\nvideo5,one\n")
    (tmp_path / "other.csv").write_text("video_id\nvid1\n")
    with pytest.raises(ValueError) as caught:
        read_msr_vtt(reader_params(**settings))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_fixture_has_the_splits_of_the_json():
    assert READERS["msr_vtt"] is read_msr_vtt and sorted(set(SPLITS)) == ["test", "train", "validate"]

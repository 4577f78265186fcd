"""Reads MSR-VTT (Xu et al. 2016): clips, each with about 20 captions, and the lists of the splits that papers use.

`MSRVTT_data.json` has the captions of all clips. A CSV lists the clips to train on (9k or 7k), another those of test
with the captions to test with (1k-A, or the full test). Clips to validate on are a fold of the training clips, never
test clips.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.path_guard import inner_file
from pipeline_lib.catalogue.schema import QUERY_DROPPED, REJECTED, REJECTS, Records
from pipeline_lib.catalogue.strings import clean_string, drop_half_characters
from pipeline_lib.datasets.captions import CAPTIONED, captioned_records
from pipeline_lib.datasets.clip_names import clip_folder, with_endings
from pipeline_lib.datasets.exports import heading
from pipeline_lib.datasets.json_file import load_json, numbered_objects, text_of
from pipeline_lib.datasets.jsonl import Object
from pipeline_lib.datasets.table_file import find_table, listing, open_table, read_columns
from pipeline_lib.params.data import DataParams

# Splits of the JSON that are trained on, and the one that is tested.
TRAIN, TEST = ("train", "validate"), ("test",)
MAX_NAMED = 5
Reject = tuple[int | None, str | None, str, str, str, str]


@dataclass(frozen=True)
class VideoList:
    """The clips of a split in their order: row in the file `name` by video id, and captions of their own if it has any.

    A repeated or unknown id is in `rejects`.
    """

    name: str
    rows: dict[str, int]
    captions: dict[str, list[str]] | None
    rejects: list[Reject]


@dataclass
class Captions:
    """The content of the JSON: number and split of each clip, its captions, and what is wrong with an entry."""

    videos: dict[str, tuple[int, str]] = field(default_factory=dict)
    captions: dict[str, list[str]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)


def read_msr_vtt(data: DataParams) -> Records:
    """Return the records of the clips that are trained on or tested; ValueError with the file and value of a fault.

    Clips are in data.image_folder or in videos, as VIDEO_ID.mp4 or with the ending of another clip. Raises ValueError
    if a clip is in both lists.
    """
    root = Path(data.root)
    path = find_table(root, data.table, ".json")
    content = read_captions(path)
    train = _video_list(root, data.train_videos, "data.train_videos", path, content, TRAIN)
    test = _video_list(root, data.test_videos, "data.test_videos", path, content, TEST)
    check_overlap(train, test)
    own = test.captions or content.captions
    rows = [(row, key, content.captions.get(key, []), "train") for key, row in train.rows.items()]
    rows += [(row, key, own.get(key, []), "test") for key, row in test.rows.items()]
    videos = pl.DataFrame(rows, schema=CAPTIONED, orient="row").with_columns(pl.col("image").alias("product_id"))
    folder = clip_folder(root, data.image_folder)
    videos = videos.with_columns(pl.Series("image", with_endings(videos["image"], root, folder), pl.String))
    records = captioned_records(path.name, videos, root, folder, "clips")
    unused = len(content.videos.keys() - train.rows.keys() - test.rows.keys())
    rejects = [*content.rejects, *train.rejects, *test.rejects]
    if unused:
        value = f"{unused} of {len(content.videos)} clips"
        rejects.append((None, None, path.name, "in neither list, so their captions are not used", value, QUERY_DROPPED))
    listed = pl.DataFrame(rejects, schema=REJECTS, orient="row")
    return replace(
        records,
        num_rows=records.num_rows + listed.filter(pl.col("action") == REJECTED).height,
        rejects=pl.concat([listed, records.rejects]),
    )


def check_overlap(train: VideoList, test: VideoList) -> None:
    """Raise ValueError with the clips that are trained on and tested."""
    both = [key for key in test.rows if key in train.rows]
    if both:
        named = ", ".join(both[:MAX_NAMED]) + (" and others" if len(both) > MAX_NAMED else "")
        raise ValueError(
            f"{train.name}: {len(both)} of {len(train.rows)} clips are in {test.name}, too: {named}. No clip may be "
            "trained on and tested. Test 9k on 1k-A (MSRVTT_JSFUSION_test.csv), and the full test after 7k alone; set "
            "data.train_videos and data.test_videos"
        )


def read_captions(path: Path) -> Captions:
    """Return the clips and captions of the JSON; ValueError if it has another form."""
    content = load_json(path)
    result = Captions()
    for number, video in _entries(path, content, "videos"):
        key, split = (clean_string(text_of(path, number, video, name)) for name in ("video_id", "split"))
        fault = "empty id" if not key else "duplicate id" if key in result.videos else ""
        if fault:
            result.rejects.append((number, key or None, path.name, fault, f"videos: {key}", QUERY_DROPPED))
        else:
            result.videos[key] = number, split
    seen = set()
    for number, sentence in _entries(path, content, "sentences"):
        key, caption, sentence_id = (
            text_of(path, number, sentence, name) for name in ("video_id", "caption", "sen_id")
        )
        fault = "unknown video_id" if key not in result.videos else "sen_id twice" if sentence_id in seen else ""
        if fault:
            shown = drop_half_characters(f"{sentence_id}: {key}: {caption}")
            result.rejects.append((number, None, path.name, fault, shown, QUERY_DROPPED))
            continue
        if sentence_id:
            seen.add(sentence_id)
        result.captions.setdefault(key, []).append(drop_half_characters(caption))
    return result


def _entries(path: Path, content: object, name: str) -> list[tuple[int, Object]]:
    """Return the numbered objects of a list of the JSON; ValueError if there is no such list."""
    entries = content.get(name) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: no list of `{name}` in it; name MSRVTT_data.json in data.table")
    return numbered_objects(path, entries, name)


def _video_list(
    root: Path, table: str | None, setting: str, path: Path, content: Captions, splits: tuple[str, ...]
) -> VideoList:
    """Return the clips of a CSV, or without one those whose split in the JSON is one of `splits`."""
    if table is not None:
        if not (root / table).is_file():
            found = ", ".join(sorted(one.name for one in root.glob("*.csv"))) or "none"
            raise ValueError(f"{setting} = {table!r}: no such file in {root}; CSV files there: {found}")
        return _read_list(inner_file(root, table), setting, content)
    rows = {key: number for key, (number, split) in content.videos.items() if split in splits}
    if not rows:
        raise ValueError(f"{path}: no clip has the split {' or '.join(splits)}; name a CSV in {setting}")
    return VideoList(path.name, rows, None, [])


def _read_list(file: Path, setting: str, content: Captions) -> VideoList:
    """Return the clips of a CSV with the column video_id, and optionally sentence and key (unique)."""
    table = open_table(file)
    by_heading = {heading(name): name for name in reversed(table.header)}
    if "video_id" not in by_heading:
        raise ValueError(f"{file}: no column video_id, which {setting} needs; columns found: {listing(table.header)}")
    used = [by_heading[name] for name in ("video_id", "sentence", "key") if name in by_heading]
    frame, unreadable = read_columns(table, used)
    result = VideoList(file.name, {}, {} if "sentence" in by_heading else None, unreadable.rows())
    keys = set()
    names = {by_heading[name]: name for name in ("video_id", "sentence", "key") if name in by_heading}
    for cells in frame.rename(names).iter_rows(named=True):
        row, video, key = cells["row"], clean_string(cells["video_id"] or ""), cells.get("key")
        fault = _fault(video, content, result)
        if fault:
            result.rejects.append((row, video or None, file.name, fault, video, REJECTED))
        elif key and key in keys:
            result.rejects.append((row, video, file.name, "key twice", key, QUERY_DROPPED))
        else:
            keys.add(key)
            result.rows.setdefault(video, row)
            if result.captions is not None:
                result.captions.setdefault(video, []).append(cells["sentence"] or "")
    if not result.rows:
        raise ValueError(f"{file}: none of its clips is in the JSON; name the list of this data set in {setting}")
    return result


def _fault(video: str, content: Captions, listed: VideoList) -> str:
    if not video:
        return "empty id"
    if video not in content.videos:
        return "unknown video_id"
    return "duplicate id" if listed.captions is None and video in listed.rows else ""

"""Writes the frames of clips into tars, with a table of the frames and one of the clips.

A worker decodes one clip and returns its JPEGs; this process writes them in the order of the clips, so the bytes do not
depend on the workers. In the tars frame 3 of clip 12 is `000000012.003.jpg`, behind `000000012.json`: webdataset makes
one sample of a clip.
"""

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from pipeline_lib.artifacts.io import write_json, write_table
from pipeline_lib.artifacts.schemas import CLIPS_SCHEMA, CLIPS_TABLE, FRAMES_SCHEMA, FRAMES_TABLE
from pipeline_lib.execution.meter import current_meter
from pipeline_lib.execution.parallel import map_parallel
from pipeline_lib.shards.clip_reader import ClipReader, ReadClip
from pipeline_lib.shards.tars import BLOCK, END_OF_TAR, tar_member

META = "meta.json"


def write_frames(
    media: Iterable[str], reader: ClipReader, clips_per_tar: int, out: Path, workers: int, parallel: str = "loky"
) -> dict[str, Any]:
    """Write the tars, tables and counts of those `media` that are clips, and return the counts.

    Raises OSError when a tar cannot be written.
    """
    frames: list[tuple[Any, ...]] = []
    clips: list[tuple[Any, ...]] = []
    with ExitStack() as tars:
        stream: BinaryIO | None = None
        files = list(media)
        read = map_parallel(reader, files, workers, parallel, needs=(reader.root,))
        for clip in current_meter().over(read, "clips", len(files), lambda _: 1):
            if clip is None:
                continue
            tar = f"frames-{len(clips) // clips_per_tar:05d}.tar"
            if len(clips) % clips_per_tar == 0:
                tars.close()
                stream = tars.enter_context((out / tar).open("wb"))
                tars.callback(stream.write, END_OF_TAR)
            assert stream is not None
            frames += _write_clip(stream, tar, len(clips), clip)
            clips.append(_row(clip))
    write_table(pl.DataFrame(frames, FRAMES_SCHEMA, orient="row"), out / FRAMES_TABLE)
    table = pl.DataFrame(clips, CLIPS_SCHEMA, orient="row")
    write_table(table, out / CLIPS_TABLE)
    meta = frame_counts(table) | {"bytes": sum(frame[5] for frame in frames)}
    write_json(out / META, meta)
    return meta


def frame_counts(clips: pl.DataFrame) -> dict[str, Any]:
    """Return the numbers of clips, of those used and of their frames, and of clips by fault and by note."""
    used = clips.filter(pl.col("reason").is_null())
    return {
        "clips": len(clips),
        "used": len(used),
        "frames": int(used["frames"].sum()),
        "refused": dict(sorted(Counter(clips["reason"].drop_nulls().to_list()).items())),
        "notes": dict(sorted(Counter(clips["note"].drop_nulls().to_list()).items())),
    }


def _write_clip(stream: BinaryIO, tar: str, number: int, clip: ReadClip) -> list[tuple[Any, ...]]:
    """Write the frames of a clip and return their rows; a clip without frames writes nothing."""
    if not clip.frames:
        return []
    about = {"media": clip.media, "times": clip.times, "duration": clip.duration}
    stream.write(
        tar_member(f"{number:09d}.json", json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode())
    )
    rows = []
    for index, (frame, time) in enumerate(zip(clip.frames, clip.times, strict=True)):
        offset = stream.tell() + BLOCK
        stream.write(tar_member(f"{number:09d}.{index:03d}.{frame.extension}", frame.data))
        rows.append((clip.media, index, time, tar, offset, len(frame.data), frame.width, frame.height))
    return rows


def _row(clip: ReadClip) -> tuple[Any, ...]:
    """Return a row of CLIPS_SCHEMA."""
    fault, note = clip.fault or (None, None), clip.note or (None, None)
    return (clip.media, len(clip.frames), clip.duration, clip.content, *fault, *note, clip.thumbnail)

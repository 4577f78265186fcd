"""What the stage frames found out about the clips, in the form of checked photos.

A clip is one medium of a product, as a photo is. Its fault, its hash, and the thumbnail by which near-duplicates are
found come from the table of clips, so no clip is decoded twice.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.artifacts.read import read_table
from pipeline_lib.artifacts.schemas import CLIPS_SCHEMA, CLIPS_TABLE
from pipeline_lib.catalogue.photos import Checked, Fault
from pipeline_lib.catalogue.thumbnails import scratch_rows
from pipeline_lib.clips.names import is_video


def read_clips(folder: Path) -> pl.DataFrame:
    """Return the table of clips of the stage frames; ValueError if there is none."""
    file = folder / CLIPS_TABLE
    if not file.is_file():
        raise ValueError(f"{file}: no such table; run `dvc repro frames`")
    return read_table(file)


def no_clips() -> pl.DataFrame:
    """Return the table of clips of a catalogue without any."""
    return pl.DataFrame(schema=CLIPS_SCHEMA)


def check_clips_read(media: pl.Series, table: str, clips: pl.DataFrame | None) -> pl.DataFrame:
    """Return the table of clips; ValueError if media (lists of names) has clips that `clips` lacks, or None for all."""
    names = media.explode().drop_nulls().unique(maintain_order=True)
    videos = names.filter(names.map_elements(is_video, return_dtype=pl.Boolean))
    if clips is None and len(videos):
        raise ValueError(
            f"{table}: {len(videos):,} of {len(names):,} media are clips, the first {videos[0]}, but plan.frames is "
            "empty; set plan.frames = [clips]"
        )
    if clips is None:
        return no_clips()
    unread = videos.filter(~videos.is_in(clips["media"].implode()))
    if len(unread):
        raise ValueError(f"{unread[0]}: a clip of {table} that the stage frames has not read; run `dvc repro frames`")
    return clips


def check_media(paths: list[str], clips: pl.DataFrame, check_photos: Callable[[list[str]], Checked]) -> Checked:
    """Return what `check_photos` finds of the photos among `paths`, and what `clips` says of the clips, in order.

    The thumbnails are those of good media alone.
    """
    if clips.is_empty():
        return check_photos(paths)
    row_of = {media: row for row, media in enumerate(clips["media"].to_list())}
    photos = check_photos([path for path in paths if path not in row_of])
    results = zip(photos.faults, photos.contents, photos.notes, strict=True)
    photo_thumbnails, thumbnails = iter(photos.thumbnails), scratch_rows(len(paths))
    merged = Checked([], thumbnails, [], [])
    good = 0
    for path in paths:
        if path in row_of:
            clip = clips.row(row_of[path], named=True)
            fault, note = _fault(clip["reason"], clip["value"]), _fault(clip["note"], clip["note_value"])
            content = clip["content"] if fault is None else ""
            thumbnail = np.frombuffer(clip["thumbnail"] or b"", np.uint8)
        else:
            fault, content, note = next(results)
            thumbnail = next(photo_thumbnails) if fault is None else np.empty(0, np.uint8)
        if fault is None:
            thumbnails[good] = thumbnail
            good += 1
        merged.faults.append(fault)
        merged.contents.append(content)
        merged.notes.append(note)
    return Checked(merged.faults, thumbnails[:good], merged.contents, merged.notes)


def _fault(reason: str | None, value: str | None) -> Fault | None:
    return None if reason is None else Fault(reason, value or "")

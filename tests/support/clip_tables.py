"""Reads the clips of a reader's records in process, as the stage frames does."""

from pathlib import Path

from pipeline_lib.catalogue.clips import read_clips
from pipeline_lib.clips.names import may_be_clip
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.shards.clip_reader import ClipReader
from pipeline_lib.shards.frames import write_frames


def clip_table(records, data, out, count=4):
    """Write the frames of the clips to `out`, `count` each, and return the table of clips."""
    out.mkdir(parents=True, exist_ok=True)
    params = FramesParams(count=count, sampling="uniform", fps=1.0)
    reader = ClipReader(Path(data.root).resolve(), params, 64, 90, data.max_pixels)
    listed = records.products["media"].explode().drop_nulls().to_list()
    write_frames([name for name in listed if may_be_clip(name)], reader, 100, out, 1)
    return read_clips(out)

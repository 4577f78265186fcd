"""Reads the chosen frames of every clip of the raw table once, resized as photos are, for catalogue and shards."""

from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.artifacts.path_guard import link_targets
from pipeline_lib.clips.names import may_be_clip
from pipeline_lib.datasets.readers import read_records
from pipeline_lib.execution.device import read_runtime
from pipeline_lib.execution.meter import metered
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.params.values import ColourProfile
from pipeline_lib.shards.clip_reader import ClipReader
from pipeline_lib.shards.frames import write_frames


def main() -> None:
    with stage("stages.frames") as run:
        data, frames, runtime = run.section(DataParams), run.section(FramesParams), read_runtime()
        size, quality = run.value("shards.size", int), run.value("shards.quality", int)
        convert = run.value("shards.colour_profile", ColourProfile) == "convert"
        clips_per_tar = max(1, run.value("shards.photos_per_shard", int) // frames.count)
        records = read_records(data)
        listed = records.products["media"].explode(empty_as_null=False).unique(maintain_order=True).to_list()
        media = [name for name in listed if may_be_clip(name)]
        root = Path(data.root).resolve()
        reader = ClipReader(root, frames, size, quality, data.max_pixels, link_targets(), convert)
        what = f"{len(media):,} files, {frames.count} frames each, by {runtime.workers} processes ({runtime.parallel})"
        with metered("frames", what), fresh_folder(paths.CLIPS) as out:
            meta = write_frames(media, reader, clips_per_tar, out, runtime.workers, runtime.parallel)
            if not meta["clips"]:
                raise ValueError(
                    f"{records.table}: plan.frames = [clips], but none of its {len(listed):,} media is a clip; name "
                    "the column of the clips in data.columns.video, or set plan.frames = []"
                )
        print(f"{meta['used']:,} of {meta['clips']:,} clips, {meta['frames']:,} frames, {meta['bytes'] / 1e6:.1f} MB")
        for reason, number in {**meta["refused"], **meta["notes"]}.items():
            print(f"  {reason}: {number:,}")


if __name__ == "__main__":
    main()

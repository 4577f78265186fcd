"""Writes the photos of the catalogue into shards: resized once, read by every later stage, independent of folds."""

from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.execution.device import read_runtime
from pipeline_lib.execution.meter import metered
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.shards import ShardsParams
from pipeline_lib.shards.write import list_photos, write_shards


def main() -> None:
    with stage("stages.shards") as run:
        params, runtime = run.section(ShardsParams), read_runtime()
        root = Path(run.value("data.root", str))
        clips = paths.CLIPS if run.value("plan.frames", list[str]) else None
        photos = list_photos(read_table(paths.CATALOGUE / "media.parquet"), clips)
        what = f"{len(photos):,} photos at {params.size} px by {runtime.workers} processes ({runtime.parallel})"
        with metered("shards", what), fresh_folder(paths.SHARDS) as out:
            meta = write_shards(photos, root, params, out, runtime.workers, runtime.parallel)
        done = (
            f"{meta['passed_through']:,} passed through, {meta['re_encoded']:,} encoded again, {meta['black']:,} black"
        )
        print(f"{meta['photos']:,} photos ({done}), {meta['bytes'] / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

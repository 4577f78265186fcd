"""Runs img2dataset's `download` on local files; bench/shards.py starts it with the Python of `.venv/peers`.

    python bench/img2dataset_run.py TABLE OUT SIZE QUALITY PROCESSES THREADS

EXIF extraction, hashes and cloud logging are off. Prints the photos and seconds of its own statistics, from the start
of the first shard to the end of the last, without start-up.
"""

import json
import sys
from pathlib import Path

from img2dataset import download

if __name__ == "__main__":  # its worker processes import this file
    table, out, size, quality, processes, threads = sys.argv[1:]
    download(
        url_list=table, input_format="parquet", url_col="url", output_folder=out, output_format="webdataset",
        image_size=int(size), resize_mode="keep_ratio", resize_only_if_bigger=True, encode_quality=int(quality),
        processes_count=int(processes), thread_count=int(threads), number_sample_per_shard=125,
        enable_wandb=False, compute_hash=None, extract_exif=False,
    )  # fmt: skip
    stats = [json.loads(file.read_text()) for file in Path(out).glob("*_stats.json")]
    seconds = max(shard["end_time"] for shard in stats) - min(shard["start_time"] for shard in stats)
    print(json.dumps({"photos": sum(shard["successes"] for shard in stats), "seconds": seconds}))

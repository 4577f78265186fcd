"""img2dataset's own `download` on local files, run by bench/shards.py with the Python of `.venv/peers`.

    python bench/img2dataset_run.py TABLE OUT SIZE QUALITY PROCESSES THREADS

Its extras (EXIF, hash, logging to the cloud) are off. Prints photos/s from its own statistics: from the start of its
first shard to the end of its last, so its start-up is left out.
"""

import json
import sys
from pathlib import Path

from img2dataset import download

if __name__ == "__main__":  # its processes import this file again
    table, out, size, quality, processes, threads = sys.argv[1:]
    download(
        url_list=table, input_format="parquet", url_col="url", output_folder=out, output_format="webdataset",
        image_size=int(size), resize_mode="keep_ratio", resize_only_if_bigger=True, encode_quality=int(quality),
        processes_count=int(processes), thread_count=int(threads), number_sample_per_shard=125,
        enable_wandb=False, compute_hash=None, extract_exif=False,
    )  # fmt: skip
    told = [json.loads(file.read_text()) for file in Path(out).glob("*_stats.json")]
    seconds = max(one["end_time"] for one in told) - min(one["start_time"] for one in told)
    print(json.dumps({"photos": sum(one["successes"] for one in told), "seconds": seconds}))

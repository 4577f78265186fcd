"""Photos per second of a frozen encoder: `encode_photos` against the same model in a plain DataLoader loop.

    python bench/extraction.py [--quick]

The plain loop is that of model cards: a Dataset that opens a file with Pillow and applies torchvision transforms, a
DataLoader with as many workers, the model in evaluation mode under `no_grad`. Both sides use the same photos, weights,
batch size and threads, and one process: the peer, too, keeps the memory that it frees, which is not so by itself.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from inputs import params_of, write_clip, write_project
from PIL import Image
from results import Ratio, interleaved, report
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import pipeline_lib.execution.threads  # noqa: F401  (before torch, as in stages/features.py)
from pipeline_lib.inference.engine import InferenceEngine, encode_photos
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import parse_section
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.towers.kinds import build_image_tower, resolve_towers
from pipeline_lib.towers.weights import load_strictly

SIZE, BATCH, WORKERS = 112, 64, 2


class Files(Dataset):
    """A dataset of photo files, as in model cards."""

    def __init__(self, paths: list[Path], mean: list[float], std: list[float]) -> None:
        self.paths = paths
        self.transform = transforms.Compose([
            transforms.Resize(SIZE, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(SIZE),
            transforms.ToTensor(), transforms.Normalize(mean, std),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[number]).convert("RGB"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    count, repetitions = (256, 1) if options.quick else (2_048, 5)
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        root = Path(folder)
        inputs = write_project(root / "project", count, 1, 240, 128)
        write_clip(root / "clip", SIZE, 77)
        reader = ShardReader(Manifest(inputs.shards))
        paths = [root / f"{row:06d}.jpg" for row in range(count)]
        for row, path in enumerate(paths):
            path.write_bytes(reader.read(row))
        source = resolve_towers(parse_section(ModelParams, params_of(root / "clip", SIZE, 77)))["image"]
        towers = [build_image_tower(source.description).eval() for _ in range(2)]
        for tower in towers:
            load_strictly(tower, source.state, "bench")
        tower, plain = towers[0], towers[1].to(memory_format=torch.contiguous_format)
        features: dict[str, np.ndarray] = {}

        def ours() -> float:
            start = time.perf_counter()
            views, engine = PhotoViews(reader, SIZE), InferenceEngine("cpu", BATCH, WORKERS, "fp32")
            blocks = encode_photos(lambda pixels, _: tower.encode(pixels), views, np.arange(count), engine)
            features["ours"] = np.concatenate([block.numpy() for _, block in blocks])
            return count / (time.perf_counter() - start)

        def peer() -> float:
            start = time.perf_counter()
            files = Files(paths, source.description["mean"], source.description["std"])
            with torch.no_grad():
                blocks = [plain(batch).numpy() for batch in DataLoader(files, BATCH, num_workers=WORKERS)]
            features["peer"] = np.concatenate(blocks)
            return count / (time.perf_counter() - start)

        speeds = interleaved(repetitions, ours, peer)
    cosines = (features["ours"] * features["peer"]).sum(1)
    cosines /= np.linalg.norm(features["ours"], axis=1) * np.linalg.norm(features["peer"], axis=1)
    assert cosines.min() > 0.99, "the two sides compute different features"
    about = (
        f"{count:,} photos of 128 px, ResNet-10t at {SIZE} px, batch {BATCH}, {WORKERS} workers, fp32; smallest cosine "
        f"between the two sides' features {cosines.min():.4f} (ours resizes and crops in one step)."
    )
    report("Extraction", about, [Ratio("photos through a frozen encoder", "photos/s", *speeds, "-")], options.quick)


if __name__ == "__main__":
    main()

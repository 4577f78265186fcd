#!/usr/bin/env bash
# albumentations 2.0.8: all workers of a DataLoader draw the same crops, and the same ones again in every epoch: a photo
#             of a stream has one crop for the whole training, and .204 in place of .830 of the test photos are right.
#
# Expected: "when seed is None, generates a new internal random state", says the docstring: each photo has another crop
#           in each epoch, as with torchvision, whose draws the DataLoader seeds for each worker and epoch.
# Happens:  a Compose has a generator of its own. Workers get a copy of it as it was when the dataset was made, so they
#           all draw the same numbers, and the new workers of the next epoch draw them again. No seed was given. A
#           stream that reads its photos in the same order in each epoch (tars, shards, an IterableDataset) gives each
#           photo the same crop, mirroring and colours in all epochs: below, with five workers, .204 of the test photos
#           are right, with num_workers=0 .830, without any augmentation .237. With shuffle=True a photo has 8.1
#           pictures in 10 epochs, out of 20 draws that all photos share (100 photos, five workers). The losses fall as
#           they should, and one look at a batch shows random crops.
# Do:       persistent_workers=True, which has other draws in each epoch (equal ones in all workers), or, in
#           worker_init_fn, dataset.transform.set_random_seed(torch.initial_seed() % 2**32).
# Versions: albumentations 2.0.8, torch 2.13.0 (up to 6 GB of packages), numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: training by other programs that is compared with ours; ours seeds each draw by (seed, epoch, row)
#           (pipeline_lib/loading/dataset.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check albumentations==2.0.8 torch==2.13.0 \
  numpy==2.4.6
cat >"$folder/tried.py" <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

warnings.filterwarnings("ignore")
import albumentations
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

KINDS, PHOTOS, SIZE, BATCH, WORKERS, EPOCHS = 10, 100, 48, 10, 5, 100
draws = np.random.default_rng(0)
PATTERNS = (draws.random((KINDS, 6, 6, 3)) > 0.5).astype("f4").repeat(8, 1).repeat(8, 2)


def photos(count):
    """Return photos of products of ten kinds, at another place and size, mirrored or not, and their kinds."""
    kinds = np.arange(count) % KINDS
    made = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for photo, kind in zip(made, kinds):
        size = draws.integers(18, 44)
        places = np.arange(size) * SIZE // size
        pattern = PATTERNS[kind][places][:, places]
        pattern = pattern[:, ::-1] if draws.random() < 0.5 else pattern
        picture = np.ones((SIZE, SIZE, 3)) * (draws.random(3) * 0.6 + 0.2)
        y, x = draws.integers(0, SIZE - size + 1, 2)
        picture[y : y + size, x : x + size] = pattern * (0.5 + 0.5 * draws.random()) + (1 - pattern) * 0.1
        photo[:] = 255 * (picture + 0.08 * draws.normal(size=picture.shape)).clip(0, 1)
    return made, kinds


train, kinds = photos(PHOTOS)
test, wanted = photos(1_000)


class Products(Dataset):
    def __init__(self, augment):
        parts = [albumentations.Resize(32, 32)]
        if augment:
            crop = albumentations.RandomResizedCrop(size=(32, 32), scale=(0.4, 1))
            parts = [crop, albumentations.HorizontalFlip(), albumentations.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8)]
        self.transform = albumentations.Compose(parts)

    def __len__(self):
        return PHOTOS

    def __getitem__(self, row):
        pixels = self.transform(image=train[row])["image"]
        return torch.from_numpy(pixels.transpose(2, 0, 1)).float() / 255, int(kinds[row]), row


class Stream(IterableDataset):
    """The same products, as a stream that reads them in one order, as tars are read."""

    def __init__(self, augment):
        self.products = Products(augment)
        self.transform = self.products.transform
        self.order = np.random.default_rng(1).permutation(PHOTOS)

    def __iter__(self):
        worker = get_worker_info()
        yield from (self.products[row] for row in (self.order[worker.id :: WORKERS] if worker else self.order))


def reseed(_):
    get_worker_info().dataset.transform.set_random_seed(torch.initial_seed() % 2**32)


def loader(kind, augment, workers, **settings):
    shuffle = {} if kind is Stream else {"shuffle": True}
    return DataLoader(kind(augment), BATCH, num_workers=workers, **shuffle, **settings)


def versions_of_a_photo(batches, epochs=10):
    """Return how many different pictures of a photo the epochs have, on average."""
    seen = [set() for _ in range(PHOTOS)]
    for _ in range(epochs):
        for pixels, _, rows in batches:
            for picture, row in zip(pixels, rows.tolist()):
                seen[row].add(picture.numpy().tobytes())
    return np.mean([len(pictures) for pictures in seen])


def trained(batches, seed):
    """Return the share of test photos that a small network gets right after training."""
    torch.manual_seed(seed)
    layers = []
    for inner, outer in ((3, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(inner, outer, 3, 2, 1), nn.BatchNorm2d(outer), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, KINDS))
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=EPOCHS * PHOTOS // BATCH)
    for _ in range(EPOCHS):
        for pixels, labels, _ in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(pixels), labels).backward()
            optimizer.step()
            schedule.step()
    resize = albumentations.Resize(32, 32)
    pixels = np.stack([resize(image=photo)["image"] for photo in test]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        found = network.eval()(torch.from_numpy(pixels).float() / 255).argmax(1).numpy()
    return float((found == wanted).mean())


if __name__ == "__main__":
    torch.set_num_threads(1)
    names = ("albumentations", "torch", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
    tries = {
        "stream, no augmentation": (Stream, False, 0, {}),
        "stream, num_workers=0": (Stream, True, 0, {}),
        "stream, 5 workers": (Stream, True, WORKERS, {}),
        "stream, 5 persistent workers": (Stream, True, WORKERS, {"persistent_workers": True}),
        "stream, 5 workers, seeded": (Stream, True, WORKERS, {"worker_init_fn": reseed}),
        "shuffled, num_workers=0": (Products, True, 0, {}),
        "shuffled, 5 workers": (Products, True, WORKERS, {}),
    }
    result = {}
    for name, (kind, augment, workers, settings) in tries.items():
        counted = versions_of_a_photo(loader(kind, augment, workers, **settings))
        right = np.mean([trained(loader(kind, augment, workers, **settings), seed) for seed in range(2)])
        result[name] = counted, right
        print(f"{name}: {counted:.1f} pictures of a photo in 10 epochs; test photos right: {right:.3f}", flush=True)
    alone, five = result["stream, num_workers=0"], result["stream, 5 workers"]
    if not (alone[0] > 9.5 and five[0] < 1.1 and five[1] < alone[1] - 0.3):
        sys.exit("the behaviour has changed")
    if min(result["stream, 5 persistent workers"][1], result["stream, 5 workers, seeded"][1]) < alone[1] - 0.1:
        sys.exit("the behaviour has changed")
PYTHON
cd "$folder"
venv/bin/python tried.py

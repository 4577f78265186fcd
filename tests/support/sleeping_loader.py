"""Loads batches in a worker that sleeps in each of them: see `forked.forked`."""

import time

from torch.utils.data import Dataset

from pipeline_lib.loading.dataset import data_loader


class Sleeping(Dataset):
    """Items that take a minute."""

    def __getitem__(self, key: int) -> int:
        time.sleep(60)
        return key


def main() -> None:
    """Wait for a worker's first item."""
    list(data_loader(Sleeping(), [0, 1], 1))

"""A batch split over processes: each has the images and texts of its own rows, and the ids of all rows."""

import numpy as np
import pytest
import torch
from tiny_project import write_project

from pipeline_lib.batch import CONTENT
from pipeline_lib.loading.dataset import ProductDataset, Sampling
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.text_views import TextViews
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.transforms.tokenize import TextTokenizer


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_shares_join_to_the_batch(tmp_path, tiny_text_folder, world):
    """With random photos, crops and dropped words: the draws of a product do not depend on the process."""
    inputs = write_project(tmp_path / "project")
    photos = PhotoViews(ShardReader(Manifest(inputs.shards)), 32, "clip", 0.5)
    data = read_fold(inputs, 0, True).training

    def batch(part):
        texts = TextViews(TextTokenizer(tiny_text_folder), 16, "word_dropout", 0.5)
        return ProductDataset(data, photos, texts, Sampling(3, "random", part=part))[2, np.arange(7, 14)]

    whole, shares = batch((0, 1)), [batch((rank, world)) for rank in range(world)]
    assert torch.equal(torch.cat([share.pixels for share in shares]), whole.pixels)
    for start, share in zip(np.cumsum([0, *(len(one.pixels) for one in shares)]), shares, strict=False):
        for row, (ids, mask) in enumerate(zip(share.token_ids, share.token_mask, strict=True), start):
            assert ids[mask].tolist() == whole.token_ids[row][whole.token_mask[row]].tolist()
        for name in ("product", "group", "text", "has_text", "label"):
            assert name not in CONTENT and torch.equal(getattr(share, name), getattr(whole, name))

"""Embeddings, batches and params for the tests of losses."""

from pathlib import Path

import torch
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.section import load_params

PARAMS = Path(__file__).parents[2] / "params.yaml"


def unit(count, dim, seed):
    return functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def drawn_ignore(count, seed, share):
    """A symmetric mask, as equal ids give."""
    drawn = torch.rand(count, count, generator=torch.Generator().manual_seed(seed)) < share
    return drawn | drawn.T


def batch(product, group=None, text=None, has_text=None):
    keys = {"product": product, "group": group or product, "text": text or product}
    tensors = {name: torch.tensor(value) for name, value in keys.items()}
    mask = torch.tensor(has_text or [True] * len(product))
    return Batch(**tensors, has_text=mask, label=torch.zeros(len(product), dtype=torch.long))


def outputs(image, text, scale=9.0, **more):
    return Outputs(image_embedding=image, text_embedding=text, logit_scale=torch.as_tensor(scale), **more)


def loss_params(**changes):
    """The losses of params.yaml, every weight 0 except in `changes`, e.g. triplet={"weight": 1.0}."""
    section = load_params(PARAMS)["losses"]
    for name, values in section.items():
        values.update({"weight": 0.0, **changes.get(name, {})})
    return LossesParams.model_validate(section)

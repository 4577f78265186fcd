"""Interpolation of weights before and after fine-tuning: WiSE-FT (Wortsman et al. 2021, arXiv:2109.01903).

theta = (1 - share) * theta_start + share * theta_trained, for the towers. Heads, and the parts of a tower without
pretrained weights, were initialized at random and stay as trained. The share is a setting of prediction, so another
share needs no training.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.models.adapters import adapter_state
from pipeline_lib.models.saved import SavedModel, load_model
from pipeline_lib.models.tower_kinds import resolve_towers
from pipeline_lib.models.towers import Tower, TowerSource, weights_hash
from pipeline_lib.models.warm_start import start_folder, warm_sources
from pipeline_lib.params.model import ModelParams


def load_interpolated(folder: Path, share: float, params: ModelParams) -> SavedModel:
    """Return the model of a train folder with `share` of its trained towers; its fingerprint includes share and start.

    ValueError if a tower started from random weights, or if its start has other parameters.
    """
    saved = load_model(folder)
    if share == 1.0:
        return saved
    run = saved.card["run"]
    sources = resolve_towers(params)
    start = start_folder(run["train"]["init_from"], run["fold"])
    if start is not None:
        sources = warm_sources(sources, start)
    for name, tower in saved.model.towers().items():
        state = sources[name].state
        if state is None:
            raise ValueError(
                f"embed.interpolation = {share}: the {name} tower started from random weights, so there is "
                "nothing to interpolate with; write 1.0"
            )
        interpolate(_interpolated_state(tower, sources[name], state), state, share)
    starts = {name: weights_hash(source.state) for name, source in sources.items()}
    fingerprint = digest_value([saved.fingerprint, "interpolation", share, starts])
    return replace(saved, card={**saved.card, "fingerprint": fingerprint})


def _interpolated_state(tower: Tower, source: TowerSource, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tower's tensors without those that were initialized at random: new parts and adapters."""
    random = {name for name in tower.state_dict() if name.startswith(source.new)} | set(adapter_state(tower))
    return {name: value for name, value in tower.state_dict().items() if name in state or name not in random}


def interpolate(trained: dict[str, Tensor], start: dict[str, Tensor], share: float) -> None:
    """Interpolate the trained tensors in place with those of the start; ValueError if their names or shapes differ.

    Integer tensors (counters) stay as trained.
    """
    differ = sorted(trained.keys() ^ start.keys()) + sorted(
        name for name in trained.keys() & start.keys() if trained[name].shape != start[name].shape
    )
    if differ:
        raise ValueError(
            f"embed.interpolation: the weights before training do not fit the model: {differ[0]} (for example after "
            "a vocabulary cut); write 1.0"
        )
    with torch.no_grad():
        for name, value in trained.items():
            if value.is_floating_point():
                value.copy_(torch.lerp(start[name].to(value), value, share))

"""Interpolation of weights before and after fine-tuning: WiSE-FT (Wortsman et al. 2021, arXiv:2109.01903).

theta = (1 - share) * theta_start + share * theta_trained, for the towers, and for the heads of a run that started from
trained heads. What was initialized at random (other heads, frame pooling, parts of a tower without pretrained weights)
stays as trained. With share 0 everything else is the start to the bit. The share is a setting of prediction, so
another share needs no training.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.inference.warm_start import heads_of, start_folder, warm_sources
from pipeline_lib.models.adapters import adapter_state
from pipeline_lib.models.frame_pooling import has_frames, without_frames
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.models.saved import SavedModel, load_model, load_without_towers, read_state
from pipeline_lib.params.model import ImageTowerParams, TextTowerParams, UntrainedImage, UntrainedText
from pipeline_lib.splitting.seen import check_start, read_seen
from pipeline_lib.towers.kinds import resolve_image_tower, resolve_text_tower
from pipeline_lib.towers.tower import Tower, TowerSource
from pipeline_lib.towers.weights import State, unique_state, weights_hash, with_first_names


def load_interpolated(folder: Path, share: float, dims: dict[str, int] | None = None) -> SavedModel:
    """Return the model of a train folder with `share` of its training; its fingerprint includes share and start.

    The start is the one that the model's card names. With `dims`, the widths of both towers' stored features, and
    share 1 only the heads are loaded.

    ValueError if a tower started from random weights, if its start has other parameters, or if the start was trained on
    products that the card of the trained model does not have.
    """
    if share == 1.0:
        return load_without_towers(folder, dims) if dims else load_model(folder)
    saved = load_model(folder)
    run = saved.card["run"]
    sources = _named_sources(run["model"])
    start = start_folder(run["train"]["init_from"], run["fold"])
    if start is not None:
        check_start(read_seen(folder, run.get("seen")), start)
        sources = warm_sources(sources, start)
    for name, tower in saved.model.towers().items():
        state = sources[name].state
        if state is None:
            raise ValueError(
                f"embed.interpolation = {share}: the {name} tower started from random weights, so there is "
                "nothing to interpolate with; write 1.0"
            )
        state = with_first_names(tower, state)
        interpolate(_interpolated_state(tower, sources[name], state), state, share)
    heads = _start_heads(saved.model, start if run["train"]["init_heads"] else None)
    if heads:
        own = heads_of(saved.model, unique_state(saved.model))
        # A start without frame pooling has nothing to interpolate it with: it was new in this run.
        interpolate(own if has_frames(heads) else without_frames(own), heads, share)
    starts = {name: weights_hash(source.state) for name, source in sources.items()} | {"heads": weights_hash(heads)}
    fingerprint = digest_value([saved.fingerprint, "interpolation", share, starts])
    return replace(saved, card={**saved.card, "fingerprint": fingerprint})


def _named_sources(model: dict[str, Any]) -> dict[str, TowerSource]:
    """Return the sources of both towers that the settings `model` of a run name."""
    image = UntrainedImage(ImageTowerParams.model_validate(model["image"]), model["fusion"], model["embedding_dim"])
    text = UntrainedText(TextTowerParams.model_validate(model["text"]), model["fusion"])
    return {"image": resolve_image_tower(image), "text": resolve_text_tower(text)}


def _start_heads(model: ImageTextModel, start: Path | None) -> State:
    """Return the tensors outside the towers that a run started from: those of a trained model, or a pair's scale.

    Empty if heads were initialized at random.
    """
    if start is not None:
        return heads_of(model, with_first_names(model, read_state(start, ())))
    own = without_frames(heads_of(model, unique_state(model)))
    if own.keys() != {"logit_scale"}:
        return {}
    return {"logit_scale": torch.full_like(own["logit_scale"], model.description["logit_scale"])}


def _interpolated_state(tower: Tower, source: TowerSource, state: State) -> State:
    """Return the tower's tensors without those that were initialized at random: new parts and adapters."""
    own = unique_state(tower)
    random = {name for name in own if name.startswith(source.new)} | set(adapter_state(tower))
    return {name: value for name, value in own.items() if name in state or name not in random}


def interpolate(trained: State, start: State, share: float) -> None:
    """Interpolate the trained tensors in place with those of the start; ValueError if their names or shapes differ.

    Integer tensors (counters) stay as trained, but with share 0 they are the start's too.
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
            if share == 0.0:
                # Exactly: lerp turns -0.0 into 0.0, and a trained value that is not finite into NaN.
                value.copy_(start[name])
            elif value.is_floating_point():
                value.copy_(torch.lerp(start[name].to(value), value, share))

"""What each tower of a run starts from: its own input, stored activations, or its stored output.

A store is read where it gives what the tower would compute, and only there. Why it is not is told before the first
step: a run that is slower than it might be does not show it otherwise.
"""

from dataclasses import dataclass

from pipeline_lib.features.boundaries import why_not_pooled
from pipeline_lib.features.tower_stores import drawn_in, open_boundary, open_pooled
from pipeline_lib.loading.stored_features import NOTHING_STORED, StoredFeatures
from pipeline_lib.models.adapters import CONV, MEMORY, describe_adapters
from pipeline_lib.models.tower_kinds import resolve_towers
from pipeline_lib.models.towers import TowerSource, weights_hash
from pipeline_lib.optim.freezing import UnfreezeEpochs
from pipeline_lib.stores.activations import ActivationStore
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.store import FeatureStore
from pipeline_lib.training.fold_data import Inputs
from pipeline_lib.training.model_setup import RunConfig

Stored = FeatureStore | ActivationStore
INPUT = {"image": "pixels", "text": "tokens"}


@dataclass(frozen=True)
class StoredInputs:
    """What is read from stores, and a line on each tower for whoever reads the plan of a run."""

    stored: StoredFeatures = NOTHING_STORED
    told: tuple[str, ...] = ()


def find_stored_inputs(
    settings: RunConfig, inputs: Inputs, sources: dict[str, TowerSource], opened: dict[str, UnfreezeEpochs], warm: bool
) -> StoredInputs:
    """Open for each tower the store nearest to its end that gives the same result, if there is one.

    ValueError if a store that would be read was made by another tower, view or catalogue, or is not whole.
    """
    found: dict[str, Stored | None] = {}
    told = []
    for name, source in sources.items():
        reason = _why_not_stored(name, settings, inputs, source, warm)
        store, said = (None, reason) if reason else _nearest(name, settings, inputs, source, opened[name])
        found[name] = store
        if store is not None and name == "image" and settings.train.augment != "none":
            drawn, found["views"] = _open_views(store, settings, inputs, source)
            said = f"{drawn}, {said}"
        told.append(f"{name}: from {INPUT[name]}, {said}" if store is None else f"{name}: from {said}")
    return StoredInputs(StoredFeatures(**found), tuple(told))


def _open_views(
    fixed: Stored, settings: RunConfig, inputs: Inputs, source: TowerSource
) -> tuple[DrawnViews | None, Stored]:
    """Return the drawn views, and their store that goes with the one of the fixed view."""
    drawn = drawn_in(inputs.trunk)
    open_one = open_boundary if isinstance(fixed, ActivationStore) else open_pooled
    views = open_one(inputs.trunk, "image", source, settings.runtime.features_url, drawn)
    if views is None or views.ids != fixed.ids:
        raise ValueError(f"{fixed.folder}: the stores of drawn views beside it are not of its photos; run `dvc repro`")
    return drawn, views


def _why_not_stored(name: str, settings: RunConfig, inputs: Inputs, source: TowerSource, warm: bool) -> str | None:
    """Return why a tower computes all by itself whatever is trained of it, or None.

    Stores hold what `model`'s own weights make of the fixed view, and of drawn ones if they were asked for. An adapter
    changes it from its block on, a cut vocabulary reads unknown words otherwise, and early fusion asks for tokens.
    """
    train, adapters = settings.train, describe_adapters(settings.model)
    reasons = {
        "train.use_stored_features is false": not train.use_stored_features,
        "plan.features does not hold trunk": not inputs.trunk.is_dir(),
        "train.mix = cutmix": name == "image" and train.mix == "cutmix",
        "train.init_from gives it other weights than are stored": warm and not _untouched(name, settings, source),
        "its weights are random": source.state is None,
        "model.fusion = early": bool(source.description.get("tokens")),
        "model.text.vocabulary = cut": name == "text" and settings.model.text.vocabulary == "cut",
        f"model.{MEMORY}": MEMORY in adapters,
        f"model.{CONV}": name == "image" and CONV in adapters,
    }
    return next((reason for reason, holds in reasons.items() if holds), None) or _why_other_view(name, settings, inputs)


def _why_other_view(name: str, settings: RunConfig, inputs: Inputs) -> str | None:
    """Return why a tower sees what is not stored, or None."""
    train = settings.train
    if name == "text":
        return f"train.text_augment = {train.text_augment}" if train.text_augment != "none" else None
    if train.augment == "none":
        return None
    drawn = drawn_in(inputs.trunk)
    if drawn is None:
        return f"train.augment = {train.augment}, of which no views are stored"
    return drawn.why_other(train.augment, train.crop_scale)


def _untouched(name: str, settings: RunConfig, source: TowerSource) -> bool:
    """Return whether a start's tower is that of `model` still, as it is behind a phase that trained heads alone."""
    return weights_hash(source.state) == weights_hash(resolve_towers(settings.model)[name].state)


def _nearest(
    name: str, settings: RunConfig, inputs: Inputs, source: TowerSource, opened: UnfreezeEpochs
) -> tuple[Stored | None, str]:
    """Return the store nearest to the tower's end before all that is ever trained of it, and a line on it."""
    count, url = len(opened), settings.runtime.features_url
    trained = count - next((place for place, epoch in enumerate(opened) if epoch is not None), count)
    reason = why_not_pooled(name, source) if not trained else None
    if not trained and not reason and (pooled := open_pooled(inputs.trunk, name, source, url)):
        return pooled, "its stored output, no layer is trained"
    kept = open_boundary(inputs.trunk, name, source, url)
    if kept is None:
        return None, reason or f"its last {trained} of {count} layer groups are trained and no activations are stored"
    behind = kept.header.groups_behind
    if trained > behind:
        return None, f"its last {trained} of {count} layer groups are trained, but features.trunk.layers = {behind}"
    return kept, f"stored activations before {kept.header.first_group}, the last {behind} of {count} layer groups"

"""The input of each tower in a run: pixels or tokens, stored activations, or its stored output.

A store is read only if it holds what the tower would compute. Validation sees the fixed view of photos and plain texts,
so it may read a store where training, which augments, does not. The trainable report has a message for each tower with
its input, and with the reason if it reads no store, because such a run is slower than it could be.
"""

from dataclasses import dataclass
from typing import Any

from pipeline_lib.features.tower_stores import open_boundary, open_pooled, stored_views
from pipeline_lib.loading.stored_features import NOTHING_STORED, StoredFeatures
from pipeline_lib.models.adapters import CONV, MEMORY, describe_adapters
from pipeline_lib.optim.freezing import UnfreezeEpochs
from pipeline_lib.stores.activations import ActivationStore
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.store import FeatureStore
from pipeline_lib.towers.joint_space import why_not_pooled
from pipeline_lib.towers.tower import TowerSource
from pipeline_lib.training.fold_data import Inputs
from pipeline_lib.training.run_start import InitialWeights, RunConfig

Store = FeatureStore | ActivationStore
INPUT = {"image": "pixels", "text": "tokens"}


@dataclass(frozen=True)
class StoredInputs:
    """The stored features that training reads, those that validation reads, and a message on each tower's input.

    Both read the same store of a tower, or training reads none.
    """

    features: StoredFeatures = NOTHING_STORED
    held_out: StoredFeatures = NOTHING_STORED
    messages: tuple[str, ...] = ()

    def are_outputs(self) -> bool:
        """Return whether both towers' outputs are read, so that no layer of them runs."""
        return all(isinstance(store, FeatureStore) for store in (self.features.image, self.features.text))


NO_STORES = StoredInputs()


def find_stored_inputs(
    config: RunConfig, inputs: Inputs, initial: InitialWeights, unfreeze_epochs: dict[str, UnfreezeEpochs]
) -> StoredInputs:
    """Open, for each tower, the store nearest to its output that gives the same result, if there is one.

    Raises ValueError if such a store was written by another tower, view or catalogue, or is incomplete.
    """
    stores: dict[str, Store | None] = {}
    held_out: dict[str, Store | None] = {}
    messages = []
    for name, source in initial.towers.items():
        reason, other_view = _why_not_stored(name, config, inputs, initial), _why_other_view(name, config, inputs)
        opened = unfreeze_epochs[name]
        store, message = (None, reason) if reason else _nearest_store(name, config, inputs, source, opened)
        held_out[name], stores[name] = store, None if other_view else store
        if store is None:
            message = f"{INPUT[name]}, {message}"
        elif other_view:
            message = f"{INPUT[name]}, {other_view}; in validation from {message}"
        elif name == "image" and config.train.augment != "none":
            drawn, stores["views"] = _open_views(store, config, inputs, source)
            message = f"{drawn}, {message}"
        messages.append(f"{name}: from {message}")
    return StoredInputs(StoredFeatures(**stores), StoredFeatures(**held_out), tuple(messages))


def _open_views(
    fixed: Store, config: RunConfig, inputs: Inputs, source: TowerSource
) -> tuple[DrawnViews | None, Store]:
    """Return the augmented views, and the store of them that matches the store of the fixed view."""
    drawn = stored_views(inputs.trunk)
    open_store = open_boundary if isinstance(fixed, ActivationStore) else open_pooled
    views = open_store(inputs.trunk, "image", source, config.runtime.features_url, drawn)
    if views is None or views.ids != fixed.ids:
        raise ValueError(f"{fixed.folder}: the stores of augmented views beside it have other photos; run `dvc repro`")
    return drawn, views


def _why_not_stored(name: str, config: RunConfig, inputs: Inputs, initial: InitialWeights) -> str | None:
    """Return the reason why a tower must run from its input however many of its layers are trained, or None.

    The stores hold the outputs of the weights that `model` names. An adapter changes the output of its block and of all
    later blocks, a cut vocabulary tokenizes texts differently, and early fusion reads tokens.
    """
    reasons = {
        "train.use_stored_features is false": not config.train.use_stored_features,
        "plan.features does not have trunk": not inputs.trunk.is_dir(),
    }
    reason = next((reason for reason, holds in reasons.items() if holds), None)
    return reason or _why_other_outputs(name, config, initial)


def _why_other_outputs(name: str, config: RunConfig, initial: InitialWeights) -> str | None:
    """Return the reason why even the layers of a tower that no epoch trains do not give what is stored, or None."""
    source, adapters = initial.towers[name], describe_adapters(config.model)
    reasons = {
        "train.init_from gives it other weights than are stored": name not in initial.unchanged,
        "its weights are random": source.state is None,
        "model.fusion = early": bool(source.description.get("tokens")),
        "model.text_vocabulary = cut": name == "text" and config.model.text_vocabulary == "cut",
        f"model.{MEMORY}": MEMORY in adapters,
        f"model.{CONV}": name == "image" and CONV in adapters,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def untrained_layers(
    config: RunConfig, initial: InitialWeights, unfreeze_epochs: dict[str, UnfreezeEpochs]
) -> dict[str, dict[str, Any]]:
    """Return, for each tower with layers as `model` names them, its encoder and how many of its last groups changed.

    Both are for the model's card, by which the stage `embed` knows which stored features its towers would compute.
    """
    return {
        name: {"encoder": source.fingerprint, "trained_groups": _count_trained(unfreeze_epochs[name])}
        for name, source in initial.towers.items()
        if _why_other_outputs(name, config, initial) is None
    }


def _count_trained(opened: UnfreezeEpochs) -> int:
    """Return how many of a tower's last layer groups some epoch may train, which has the first open one among them."""
    return len(opened) - next((place for place, epoch in enumerate(opened) if epoch is not None), len(opened))


def _why_other_view(name: str, config: RunConfig, inputs: Inputs) -> str | None:
    """Return the reason why the stores lack the views that a tower trains with, or None."""
    train = config.train
    if name == "text":
        return f"train.text_augment = {train.text_augment}" if train.text_augment != "none" else None
    if train.mix == "cutmix":
        return "train.mix = cutmix"
    if train.augment == "none":
        return None
    drawn = stored_views(inputs.trunk)
    if drawn is None:
        return f"train.augment = {train.augment}, but no augmented views are stored"
    return drawn.mismatch(train.augment, train.crop_scale)


def _nearest_store(
    name: str, config: RunConfig, inputs: Inputs, source: TowerSource, opened: UnfreezeEpochs
) -> tuple[Store | None, str]:
    """Return the store nearest to a tower's output whose layers are never trained, and a message on it."""
    count, url = len(opened), config.runtime.features_url
    trained = _count_trained(opened)
    reason = why_not_pooled(name, source) if not trained else None
    if not trained and not reason and (pooled := open_pooled(inputs.trunk, name, source, url)):
        return pooled, "its stored output, no layer is trained"
    store = open_boundary(inputs.trunk, name, source, url)
    if store is None:
        return None, reason or f"its last {trained} of {count} layer groups are trained and no activations are stored"
    suffix = store.header.groups_behind
    if trained > suffix:
        return None, f"its last {trained} of {count} layer groups are trained, but features.trunk.layers = {suffix}"
    return store, f"stored activations before {store.header.first_group}, the last {suffix} of {count} layer groups"

"""What the frozen layers of a trained model gave before training, in place of running them again in prediction.

A model's card says which of its towers have layers as `model` names them, and how many of the last layer groups were
trained. If these layers' outputs for the views of prediction are stored, only the other layers run: the heads alone for
a tower that stayed frozen, whatever the number of folds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.inference.engine import Array, InferenceEngine, encode_stored_texts, round_robin
from pipeline_lib.loading.dataset import sequential_batches
from pipeline_lib.loading.products import text_key
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.stores.activations import ActivationStore, open_activations
from pipeline_lib.stores.boundary import BOUNDARY, MIRRORED
from pipeline_lib.stores.store import FeatureStore, open_store
from pipeline_lib.transforms.resizing import preprocessing_fingerprint

Store = FeatureStore | ActivationStore


@dataclass(frozen=True)
class StoredLayers:
    """Stores of a model's frozen layers: of photos, one for each view, and of texts; empty or None if they must run.

    `messages` say for each tower what is read.
    """

    photos: tuple[Store, ...] = ()
    texts: Store | None = None
    messages: tuple[str, ...] = ()

    def dims(self) -> dict[str, int] | None:
        """Return the widths of both towers' stored outputs, None if a layer of a tower has to run."""
        if not self.photos or not all(isinstance(store, FeatureStore) for store in (*self.photos, self.texts)):
            return None
        return {"image": self.photos[0].matrix.shape[1], "text": self.texts.matrix.shape[1]} if self.texts else None

    def encode_photos(
        self, model: ImageTextModel, keys: Sequence[str], engine: InferenceEngine
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield (start, pooled features (block, views x dim)) of photos by their keys, in order.

        In a process group every rank must iterate, and only rank 0 receives blocks.
        """
        batches = sequential_batches(len(keys), engine.batch_size)

        def encode(number: int) -> tuple[int, Tensor]:
            rows = batches[number][1]
            own = [keys[row] for row in rows]
            return int(rows[0]), torch.cat([_photos_of(model, store, own, engine) for store in self.photos], dim=1)

        blocks = round_robin(len(batches), encode, engine.processes)
        return engine.meter.over(blocks, "photos", len(keys), lambda block: len(block[1]))

    def encode_texts(self, model: ImageTextModel, texts: Sequence[str], engine: InferenceEngine) -> Array:
        """Return pooled features (texts, dim)."""
        keys, store = [text_key(text) for text in texts], self.texts
        if isinstance(store, FeatureStore):
            return store.rows(keys)
        assert store is not None
        num_suffix_groups = store.header.groups_behind

        def encode(activations: Tensor, mask: Tensor) -> Tensor:
            return model.text.forward_suffix(activations, mask, num_suffix_groups)

        return encode_stored_texts(encode, store, keys, engine)


NOTHING_STORED = StoredLayers()


def _photos_of(model: ImageTextModel, store: Store, keys: Sequence[str], engine: InferenceEngine) -> Tensor:
    if isinstance(store, FeatureStore):
        return torch.from_numpy(store.rows(keys))
    num_suffix_groups, activations = store.header.groups_behind, torch.from_numpy(store.gather(keys)[0])
    return engine.run(lambda values: model.image.forward_suffix(values, num_suffix_groups), activations).cpu()


def find_stored_layers(card: dict[str, Any], trunk: Path, views: Path, scale: int, flip: bool) -> StoredLayers:
    """Open the stores that replace the frozen layers of the model with a card, in predictions at `scale` pixels.

    `trunk` has the plain view at the size of training and the texts, `views` the other views at this size; `flip` asks
    for the mirrored view as well. Raises ValueError for an incomplete store, or one of another encoder.
    """
    untrained, image = card["run"]["untrained_layers"], card["description"]["image"]
    wanted = [(views / "image", preprocessing_fingerprint(scale, image))]
    if scale == image["size"] and not _stored(wanted[0][0]):
        wanted = [(trunk / "image", wanted[0][1])]
    if flip:
        wanted.append((views / f"image{MIRRORED}", preprocessing_fingerprint(scale, image, mirrored=True)))
    photos: list[Store] = []
    messages = []
    if "image" in untrained:
        found = [_open(folder, untrained["image"], view) for folder, view in wanted]
        photos = [store for store in found if store is not None]
        photos = photos if len(photos) == len(wanted) else []
    texts = _open(trunk / "text", untrained["text"], None) if "text" in untrained else None
    for name, store in (("photos", photos[0] if photos else None), ("texts", texts)):
        if store is not None:
            messages.append(f"{name} from stored {'features' if isinstance(store, FeatureStore) else 'activations'}")
    return StoredLayers(tuple(photos), texts, tuple(messages))


def _open(folder: Path, untrained: dict[str, Any], preprocessing: str | None) -> Store | None:
    """Open the store nearest to a tower's output that its trained layers do not change, None if there is none."""
    boundary = folder.with_name(f"{folder.name}{BOUNDARY}")
    if untrained["trained_groups"] == 0 and folder.is_dir():
        return open_store(folder, untrained["encoder"], preprocessing)
    if not boundary.is_dir():
        return None
    store = open_activations(boundary, untrained["encoder"], preprocessing)
    return store if untrained["trained_groups"] <= store.header.groups_behind else None


def _stored(folder: Path) -> bool:
    return folder.is_dir() or folder.with_name(f"{folder.name}{BOUNDARY}").is_dir()

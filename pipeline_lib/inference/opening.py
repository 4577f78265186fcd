"""Opens one fold's trained model for prediction at one image size: its weights, its views and its stored layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_lib.artifacts import paths
from pipeline_lib.execution.device import inference_batch, pick_device, resolve_precision
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.inference.predict import Predictor, open_views
from pipeline_lib.inference.stored_layers import find_stored_layers
from pipeline_lib.inference.wise_ft import load_interpolated
from pipeline_lib.models.saved import read_card
from pipeline_lib.params.plan import TRUNK
from pipeline_lib.towers.kinds import encoder_names
from pipeline_lib.transforms.resizing import preprocessing_fingerprint
from pipeline_lib.transforms.tokenize import TextTokenizer

if TYPE_CHECKING:
    from pipeline_lib.execution.meter import Meter
    from pipeline_lib.execution.process_group import ProcessGroup
    from pipeline_lib.params.embed import EmbedParams
    from pipeline_lib.params.runtime import RuntimeParams


@dataclass(frozen=True)
class OpenModel:
    """A predictor, and the fingerprints of its weights and of its preprocessing.

    `summary` names the encoders, the device and the precision, and what is read in place of frozen layers.
    """

    predictor: Predictor
    fingerprint: str
    preprocessing: str
    summary: str

    @property
    def classes(self) -> list[str]:
        """Return the classes that the model predicts."""
        classes: list[str] = self.predictor.model.description["classes"]
        return classes


def open_model(
    place: tuple[int, int], params: EmbedParams, runtime: RuntimeParams, processes: ProcessGroup, meter: Meter
) -> OpenModel:
    """Open the model of a `place`, (fold, image size); ValueError for weights or stores that do not belong to it."""
    (fold, scale), device = place, pick_device(runtime.device)
    folder = paths.train_of(fold)
    card = read_card(folder)
    image, text = (card["description"][tower] for tower in ("image", "text"))
    stored = find_stored_layers(card, paths.features_of(TRUNK), paths.views_of(scale), scale, params.flip)
    saved = load_interpolated(folder, params.interpolation, stored.dims())
    precision = resolve_precision(params.precision, device, saved.model)
    batch_size = inference_batch(runtime.batch_size, device)
    predictor = Predictor(
        model=saved.model.to(device),
        tokenizer=TextTokenizer(folder / "tokenizer"),
        views=None if stored.photos else open_views(image, scale, paths.SHARDS, runtime.shards_url),
        engine=InferenceEngine(device, batch_size, runtime.workers, precision, processes, meter),
        flip=params.flip,
        photo=params.photo,
        stored=stored,
    )
    encoder = f"{encoder_names({**image, 'size': scale}, text)} on {device} in {precision}"
    view = preprocessing_fingerprint(scale, image)
    return OpenModel(predictor, saved.fingerprint, view, ", ".join([encoder, *stored.messages]))

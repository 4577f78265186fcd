"""From composed.losses to the losses of composed retrieval that a model trains with.

A loss that reads what a model does not give (the prompt tokens of a Q-Former) is left out for that model.
"""

from collections.abc import Callable, Collection

from torch import Tensor

from pipeline_lib.losses.composed_contrast import composed_contrast
from pipeline_lib.losses.composed_pairs import ComposedPairs
from pipeline_lib.losses.patch_contrast import patch_contrast
from pipeline_lib.losses.prompt_contrast import prompt_contrast
from pipeline_lib.losses.query_alignment import query_alignment
from pipeline_lib.params.composed import ComposedLossesParams

ComposedLoss = Callable[[ComposedPairs], Tensor]
# Name in params.yaml -> function(pairs) -> scalar; a test compares the names with ComposedLossesParams.
COMPOSED_LOSSES: dict[str, ComposedLoss] = {
    "composed_contrast": composed_contrast,
    "prompt_contrast": prompt_contrast,
    "query_alignment": query_alignment,
    "patch_contrast": patch_contrast,
}
# Name of a loss -> what it reads of `ComposedPairs.extra`.
READS: dict[str, frozenset[str]] = {
    "composed_contrast": frozenset(),
    "prompt_contrast": frozenset({"prompt_query"}),
    "query_alignment": frozenset({"query_mean", "prompt_mean"}),
    "patch_contrast": frozenset({"patches"}),
}


def composed_loss_weights(params: ComposedLossesParams, gives: Collection[str]) -> dict[str, float]:
    """Return the weights above 0 of the losses that read only what a model `gives`; ValueError if there is none."""
    weights = {name: float(getattr(params, name)) for name in COMPOSED_LOSSES}
    on = {name: weight for name, weight in weights.items() if weight > 0 and READS[name] <= set(gives)}
    if not on:
        raise ValueError(
            "params.yaml: no loss under composed.losses trains this model; give composed.losses.composed_contrast a "
            "weight above 0"
        )
    return on

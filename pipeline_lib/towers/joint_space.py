"""The joint space of two towers that were trained as a pair, and the heads of a model that keep it.

A pair's towers end in their own projections, and its checkpoint has the scale of the similarities (and SigLIP's bias).
So a model of a pair has no further projection, unless params name one: a new random one would undo the alignment.
"""

from collections.abc import Mapping

from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.model import ModelParams, ProjectorKind, ProjectorParams
from pipeline_lib.towers.tower import TowerSource

# Log of the scale, 1 / 0.07, and SigLIP's bias, for towers that are no pair: the initial values of the papers.
LOGIT_SCALE, SIGLIP_BIAS = 2.6593, -10.0


def why_not_pooled(name: str, source: TowerSource) -> str | None:
    """Return the reason why a tower's output is not that of pretrained weights alone, or None if it is.

    Early fusion pools after a trained layer, and parts without pretrained weights are initialized in each run.
    """
    if source.description.get("tokens"):
        return "model.fusion = early reads tokens, which are not stored"
    if source.new:
        parts = ", ".join(source.new)
        return f"model.{name} has parts without pretrained weights ({parts}), which each run initializes"
    return None


def why_apart(sources: dict[str, TowerSource]) -> str | None:
    """Return the reason why the towers have no joint embedding space, or None if class names can serve as prompts.

    They have one if both are open_clip towers whose weights come from one file, with the preprocessing of training.
    """
    for name, source in sources.items():
        if reason := why_not_pooled(name, source):
            return reason
    if not _of_one_checkpoint(sources):
        # `joint.json` has this text: another wording would change the bytes of the stage's outs.
        return "the towers are no pair: zero-shot needs an image and a text tower trained together (open_clip)"
    return next(iter(sources["text"].notes), None)


def settle_heads(params: ModelParams, sources: dict[str, TowerSource]) -> ModelParams:
    """Return params with a value for each null: the projectors and the scale that keep a pair's joint space.

    Towers that are no pair get linear projectors and the scale of CLIP's paper.
    """
    kind: ProjectorKind = "linear" if why_apart(sources) else "none"
    own = {name: getattr(params.projector, name) or kind for name in ("image", "text")}
    projector = params.projector.model_copy(update=own)
    scale = params.logit_scale
    if scale is None:
        scale = _pair_scales(projector, sources).get("logit_scale", LOGIT_SCALE)
    return params.model_copy(update={"projector": projector, "logit_scale": scale})


def settle_bias(losses: LossesParams, params: ModelParams, sources: dict[str, TowerSource]) -> LossesParams:
    """Return losses with a bias of SigLIP's loss: if it is null, that of the pair's checkpoint, else the paper's."""
    bias = losses.siglip.bias
    if bias is None:
        bias = _pair_scales(params.projector, sources).get("logit_bias", SIGLIP_BIAS)
    return losses.model_copy(update={"siglip": losses.siglip.model_copy(update={"bias": bias})})


def _pair_scales(projector: ProjectorParams, sources: dict[str, TowerSource]) -> Mapping[str, float]:
    """Return the scales of the checkpoint that both towers are from, if the model compares them as it did."""
    compared = _of_one_checkpoint(sources) and {projector.image, projector.text} == {"none"}
    return sources["image"].scales if compared else {}


def _of_one_checkpoint(sources: dict[str, TowerSource]) -> bool:
    return sources["image"].weights is not None and sources["image"].weights == sources["text"].weights


def pair_warnings(params: ModelParams, sources: dict[str, TowerSource]) -> list[str]:
    """Return a warning if the settled params give up the alignment of a pair: by fusion, pooling, or new projectors."""
    if not _of_one_checkpoint(sources):
        return []
    if why_apart(sources) is not None:
        setting, way = f"model.text.pooling = {params.text.pooling}", "the pooling that their weights were trained with"
        if params.fusion == "early":
            setting, way = "model.fusion = early", "model.fusion = late"
        return [
            f"image and text: {setting} is not how these towers, which were trained together, are pooled, so the model "
            f"starts without their alignment; set {way}"
        ]
    new = [name for name in ("image", "text") if getattr(params.projector, name) != "none"]
    if not new:
        return []
    names, kinds = (" and ".join(values) for values in (new, [str(getattr(params.projector, name)) for name in new]))
    ways = " and ".join(f"model.projector.{name} = null" for name in new)
    return [
        f"{names}: model.projector = {kinds} puts a new random projection on towers that were trained together, so the "
        f"model starts without their alignment; set {ways} and model.embedding_dim to the width of their joint space"
    ]

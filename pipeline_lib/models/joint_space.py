"""Whether the trunk's features of a photo and a text can be compared: only if the towers were trained as a pair."""

from pipeline_lib.features.boundaries import why_not_pooled
from pipeline_lib.models.towers import TowerSource


def why_apart(sources: dict[str, TowerSource]) -> str | None:
    """Return the reason why the towers have no joint embedding space, or None if class names can serve as prompts.

    They have one if both are open_clip towers whose weights come from one file, with the preprocessing of training.
    """
    image, text = sources["image"], sources["text"]
    for name, source in sources.items():
        if reason := why_not_pooled(name, source):
            return reason
    if image.weights is None or image.weights != text.weights:
        # `joint.json` has this text: another wording would change the bytes of the stage's outs.
        return "the towers are no pair: zero-shot needs an image and a text tower trained together (open_clip)"
    if text.notes:
        return text.notes[0]
    return None

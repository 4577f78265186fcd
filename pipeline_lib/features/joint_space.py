"""Whether a photo and a text can be compared by the trunk's own features: only in a pair that was trained as one."""

from pipeline_lib.features.boundaries import why_not_pooled
from pipeline_lib.models.towers import TowerSource


def why_apart(sources: dict[str, TowerSource]) -> str | None:
    """Return why the towers' features share no space, or None if class names may serve as prompts.

    They share one where both are open_clip's and their weights came from one file, read as they were trained.
    """
    image, text = sources["image"], sources["text"]
    for name, source in sources.items():
        if unstorable := why_not_pooled(name, source):
            return unstorable
    if image.weights is None or image.weights != text.weights:
        return "the towers are no pair: zero-shot needs an image and a text tower trained together (open_clip)"
    if text.notes:
        return text.notes[0]
    return None

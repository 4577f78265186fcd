"""Rows of the logs that have no recipe yet, each with the part it waits for; `vitrine recipe list` prints them.

A test holds this list and the recipes together against LOGS.md: a row is in exactly one of the two.
"""

CLASSES = "the two-stage classifier of log C comes with its own issue"
TEACHER = "distillation is built; the row's teacher, weights and figures are still to be taken from the log"
CLIPS = "video and frame aggregation are not built yet"
COMPOSED = "composed retrieval (Q-Former, gated fusion) is not built yet"

# Name of the row in LOGS.md -> why it has no recipe.
PENDING: dict[str, str] = {
    "c-stage1": CLASSES,
    "c-stage2": CLASSES,
    "c-multiscale": CLASSES,
    "d08-video-9k": CLIPS,
    "d08-video-7k": CLIPS,
    "d08-video-locked": CLIPS,
    "e01-baseline": COMPOSED,
    "e02-gated": COMPOSED,
}

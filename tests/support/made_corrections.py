"""Adds figures of retrieval corrected for hubness to a made run."""

from made_run import Run

from pipeline_lib.artifacts import paths

FIGURES = {"R@1": 0.5, "R@5": 0.75, "R@10": 0.9, "MeanRecall": 0.7166, "median_rank": 1.5, "mean_rank": 4.0}
SOURCES = {
    "inverted_softmax": {"num_training_queries": 60_000, "num_test_queries": 0, "num_corrected": 20},
    "qb_norm": {"num_training_queries": 60_000, "num_test_queries": 0, "num_corrected": 13},
    "dual_softmax": {"num_training_queries": 0, "num_test_queries": 20, "num_corrected": 20},
}


def add_corrections(run: Run) -> Run:
    """Write three corrections of test, text to image, and dual softmax of the other direction."""
    for kind, source in SOURCES.items():
        leaf = FIGURES | source | {"num_queries": 20, "num_gallery": 20, "temperature": 0.05}
        leaf |= {"difference": dict.fromkeys(FIGURES, 0.021), "chance": {"R@1": 0.05}}
        limits = {name: [0.4, 0.95] for name in FIGURES} | {"difference": {name: [-0.01, 0.052] for name in FIGURES}}
        directions = ("text_to_image", "image_to_text")[: 1 + (kind == "dual_softmax")]
        for tree, one in ((run.metrics, leaf), (run.intervals, limits)):
            branch = tree["test"].setdefault("retrieval_hubness", {})
            branch[kind] = dict.fromkeys(directions, one)
    run.put(paths.METRICS, run.metrics)
    run.put(paths.INTERVALS, run.intervals)
    return run

"""The plot tables of a made run's embeddings: similarities, hubs counted from its rankings, and a map."""

from collections import Counter

import numpy as np

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.schemas import HUBS_SCHEMA, MAP_SCHEMA, OCCURRENCE_SCHEMA, SIMILARITY_SCHEMA

FIGURES = {
    "alignment": 0.61, "uniformity_image": -2.4, "uniformity_text": -2.9, "modality_gap": 0.31, "hub_skewness": 1.25,
    "never_found": 0.075, "chance": {"hub_skewness": 0.4, "never_found": 0.02},
}  # fmt: skip


def write_space(run, galleries) -> None:
    rng = np.random.default_rng(8)
    similarities, occurrences, hubs = [], [], []
    for split in dict.fromkeys(split for split, _, _ in galleries):
        run.metrics.setdefault(split, {})["embedding"] = FIGURES
        for pair, mean in (("positive", 0.5), ("negative", 0.05)):
            counts, edges = np.histogram(rng.normal(mean, 0.15, 400).clip(-1, 1), bins=100, range=(-1, 1))
            bins = [(low, high, count) for low, high, count in zip(edges, edges[1:], counts, strict=False) if count]
            similarities += [(split, pair, *map(float, bins_[:2]), int(bins_[2])) for bins_ in bins]
        times = Counter()
        for of_split, fold, members in galleries:
            if of_split != split:
                continue
            found = Counter(row[4] for row in run.rows["rankings"] if row[1] == split and row[2] == fold)
            times += Counter(found[member[0]] for member in members)
            first = sorted(members, key=lambda member, found=found: (-found[member[0]], member[0]))[:10]
            hubs += [(split, fold, member[0], found[member[0]], len(members)) for member in first]
        occurrences += [(split, value, products) for value, products in sorted(times.items())]
    split, fold, members = galleries[-1] if galleries[-1][0] == "test" else galleries[0]
    points = [
        (split, fold, "pca", side, member[0], member[3], *rng.normal(0, 1, 2).tolist(), 0.42)
        for side in ("photo", "text")
        for member in members
    ]
    run.frame(paths.EVALUATION / "similarity_histogram.csv", similarities, SIMILARITY_SCHEMA)
    run.frame(paths.EVALUATION / "k_occurrence.csv", occurrences, OCCURRENCE_SCHEMA)
    run.frame(paths.EVALUATION / "hubs.csv", hubs, HUBS_SCHEMA)
    run.frame(paths.EVALUATION / "embedding_map.parquet", points, MAP_SCHEMA)

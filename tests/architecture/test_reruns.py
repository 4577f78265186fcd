"""Every setting reruns the stages whose outs it can change, and no other: each key of params.yaml against dvc.yaml.

The table below is written by hand, from what each stage computes. tests/architecture/test_dvc_yaml.py compares the
params of a stage with what its script reads, and DVC's own answer is in tests/pipeline/test_dvc_runs.py.
"""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline_lib.cli.settings_tree import json_schema, settings_tree
from pipeline_lib.cli.tracked_settings import planned_by, rerun_by

ROOT = Path(__file__).parents[2]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
KEYS = [setting.key for group in settings_tree(json_schema()).groups() for setting in group.settings()]
TRAINING = {"phase", "train"}
OPENING = {"embed", "gallery", "judged"}  # they open the models of a fold
# The longest prefix of a key says which stages it reruns.
RERUNS = {
    "data": {"frames", "catalogue"},
    "data.root": {"frames", "catalogue", "shards", "report"},
    "frames": {"frames"},
    "split": {"folds"},
    "shards": {"shards"},
    "shards.size": {"frames", "shards"},
    "shards.quality": {"frames", "shards"},
    "shards.photos_per_shard": {"frames", "shards"},
    "shards.colour_profile": {"frames", "catalogue", "shards"},
    "model": TRAINING,
    "model.image": {*TRAINING, "features", "views", "compose"},
    "model.fusion": {*TRAINING, "features", "views", "compose"},  # tokens of early fusion are not stored
    "model.text": {*TRAINING, "features", "compose"},
    "model.weights_root": {*TRAINING, *OPENING, "features", "views", "teacher", "compose", "report"},
    "features.dtype": {"features", "views", "teacher"},
    "features.precision": {"features", "views", "teacher"},
    "features.max_gb": set(),  # a limit
    "features.teacher_words": {"teacher"},
    "features.trunk": {"features"},
    "features.trunk.at": {"features", "views"},
    "features.trunk.layers": {"features", "views"},
    "losses": TRAINING,
    "train": TRAINING,
    "train.init_from": {*TRAINING, *OPENING, "report"},
    "train.allow_seen": {*TRAINING, "ensemble"},
    "phases": {"phase", "train"},
    "composed": {"compose"},
    "composed.protocol": {"compose", "evaluate"},
    "embed": {"embed", "gallery"},
    "embed.interpolation": {*OPENING, "report"},
    "embed.flip": {"embed", "gallery", "views"},
    "embed.stored_views": {"embed", "gallery", "views"},
    "index": {"index"},
    "index.photo_weight": {"index", "judged"},
    "ensemble": {"ensemble"},
    "ensemble.fuse_with": {"ensemble", "evaluate"},
    "evaluate": {"evaluate"},
    "evaluate.seed": {"evaluate", "baselines"},
    "report": {"report"},
    "runtime": set(),
    "plan.last": {"train", *OPENING, "report"},  # what a model shares with its base
    "plan.phases": set(),
    "plan.folds": {"folds", "ensemble", "evaluate", "report"},
    "plan.scales": {"gallery", "ensemble", "report"},
    "plan.features": {"views", "baselines", "evaluate"},
    "plan.teachers": TRAINING,
    "plan.frames": {"catalogue", "shards"},
    "plan.search": set(),
    "plan.index": set(),
    "plan.judged": {"evaluate"},
    "plan.composed": {"evaluate"},
}
PLANNED = {
    "plan.phases": {"phase"},
    "plan.folds": {"phase", "train", "embed", "compose"},
    "plan.scales": {"views", "embed"},
    "plan.features": {"features"},
    "plan.teachers": {"teacher"},
    "plan.frames": {"frames"},
    "plan.search": {"gallery", "index"},
    "plan.index": {"index"},
    "plan.judged": {"judged"},
    "plan.composed": {"compose"},
}


def expected(key: str) -> set[str]:
    parts = key.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next(RERUNS[prefix] for prefix in prefixes if prefix in RERUNS)


@pytest.mark.parametrize("key", KEYS)
def test_a_setting_reruns_the_stages_whose_outs_it_can_change(key):
    assert set(rerun_by(key, STAGES)) == expected(key)
    assert set(planned_by(key, STAGES)) == PLANNED.get(key, set())


def test_every_line_of_the_table_is_a_setting_or_a_group_of_them():
    assert len(KEYS) > 150
    assert not [prefix for prefix in RERUNS if not any(f"{key}.".startswith(f"{prefix}.") for key in KEYS)]
    assert PLANNED.keys() <= set(KEYS)


def test_heads_losses_temperature_and_width_leave_stored_features_alone():
    for key in (
        "model.classifier.inputs", "model.classifier.hidden", "model.temperature", "model.embedding_dim",
        "model.projector.image", "model.logit_scale", "losses.info_nce.weight", "train.head_lr",
    ):  # fmt: skip
        assert not {"features", "views", "teacher"} & set(rerun_by(key, STAGES)), key

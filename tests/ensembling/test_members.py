"""Members: the listed folds and scales only, with equal heads and classes."""

import shutil

import pytest
from embedded_project import make_project

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.ensembling.members import open_members


@pytest.fixture
def project(tmp_path, monkeypatch):
    make_project(tmp_path, monkeypatch)


def test_members_come_fold_by_fold_and_stale_ones_are_ignored(project):
    shutil.copytree(paths.embed_of(1, 80), paths.embed_of(9, 96))
    members = open_members(paths.embed_of, [1, 0], [80])
    assert [(member.fold, member.folder) for member in members] == [(fold, paths.embed_of(fold, 80)) for fold in (1, 0)]
    assert members[0].classes == ["cup", "hat"]
    assert members[0].products is not None
    assert members[0].products.header.encoder == "model-1"


def test_a_listed_member_that_is_missing_is_named_with_the_way_out(project):
    with pytest.raises(ValueError, match=r"fold 1 at scale 96 is listed .* plan\.folds or plan\.scales"):
        open_members(paths.embed_of, [1], [64, 96])


def test_members_of_other_classes_are_refused(project):
    write_json(paths.embed_of(1, 64) / "classes.json", ["hat", "cup"])
    with pytest.raises(ValueError, match=r"1.64: its 2 classes differ in names or order from the 2 of .*0.64; "):
        open_members(paths.embed_of, [0, 1], [64])


@pytest.mark.parametrize("part", ["products", "queries"])
@pytest.mark.parametrize("fold", [0, 1])
def test_members_with_other_heads_are_refused(project, part, fold):
    shutil.rmtree(paths.embed_of(fold, 64) / part)
    with pytest.raises(ValueError, match=rf"{fold}.64: no {part}, but .*{1 - fold}.64 has them"):
        open_members(paths.embed_of, [0, 1], [64])


def test_a_head_that_no_model_has_is_none(project):
    for fold in (0, 1):
        shutil.rmtree(paths.embed_of(fold, 64) / "probabilities")
    members = open_members(paths.embed_of, [0, 1], [64])
    assert [(member.probabilities, member.classes) for member in members] == [(None, []), (None, [])]

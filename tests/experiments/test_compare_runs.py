"""Runs read from a real repository, by revision, by experiment and from the working tree; settings by their seeds."""

import shutil
from dataclasses import replace

import pytest
from compared_runs import make_run, write_run

from pipeline_lib.experiments.compare.runs import FILES, read_run
from pipeline_lib.experiments.compare.settings import Setting, by_seed, check_setting, paired_seeds, resolve
from pipeline_lib.experiments.revisions import experiment_names

OUTS = sorted({file.parent.as_posix() for file in FILES if file.parent.name})


def write(root, state):
    """Ranks are all 1, 2 or 3 by state, and as many of three products are classified correctly."""
    write_run(root, make_run([state + 1] * 4, right=[number <= state for number in range(4)], seed=state))


@pytest.fixture(scope="module")
def project(three_states):
    return three_states(f"stages:\n  evaluate:\n    cmd: 'true'\n    outs: {OUTS}\n", write)


def test_runs_are_read_by_revision_by_experiment_and_from_the_working_tree(project):
    for revision, rank in (("first-run", 1), ("tried", 2), ("workspace", 3)):
        run = read_run(revision, project)
        assert run.ranks["rank"].to_list() == [rank] * 4 and run.classes == ["cup", "hat"]
        assert (run.scores["predicted"] == run.scores["label"]).sum() == rank
        assert run.params["train"]["seed"] == rank - 1
        assert run.rankings["query_id"].n_unique() == 4 and set(run.rankings["direction"]) == {"text_to_image"}


def test_a_table_that_two_runs_share_is_parsed_once(project):
    runs = [read_run(revision, project) for revision in ("first-run", "tried")]
    assert runs[0].tables["relevance"] is runs[1].tables["relevance"]


def test_experiments_are_listed_also_while_dvc_runs(project):
    import zc.lockfile

    held = zc.lockfile.LockFile(str(project / ".dvc/tmp/lock"))
    try:
        assert experiment_names(str(project)) == ["tried"]
    finally:
        held.close()


def test_unknown_revisions_and_missing_files_are_named(project, tmp_path):
    with pytest.raises(ValueError, match=r"exp-nowhere: no such revision or experiment"):
        read_run("exp-nowhere", project)
    with pytest.raises(ValueError, match=r"ranks\.parquet: no such file; run `dvc repro`"):
        read_run("workspace", tmp_path)
    assert experiment_names(str(tmp_path)) == []


def test_a_run_of_another_version_of_the_code_is_refused_by_name(tmp_path):
    run = make_run([1, 2], right=[1, 1])
    write_run(tmp_path, replace(run, scores=run.scores.drop("group_id")))
    with pytest.raises(ValueError, match=r"workspace: .*class_scores\.parquet lacks group_id: another version"):
        read_run("workspace", tmp_path)


def test_files_that_no_cache_has_are_refused_with_a_way_out(project, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    shutil.rmtree(copy / ".dvc" / "cache")
    with pytest.raises(ValueError, match=r"first-run: .*ranks\.parquet.* cannot be read .*; run that revision"):
        read_run("first-run", copy)


def test_an_argument_names_a_run_a_list_of_runs_or_the_seeds_of_a_recipe():
    known = ["deeper", "a08-0123abcd-s7", "a08-0123abcd-s10", "a08-0123abcd-s8", "b01-11111111-s7", "b01-22222222-s7"]

    def named(argument):
        return resolve(argument, lambda: known)

    assert named("HEAD") == ("HEAD", ["HEAD"])
    assert named("deeper") == ("deeper", ["deeper"])
    assert named("deep=one,two") == ("deep", ["one", "two"])
    seeds = ["a08-0123abcd-s7", "a08-0123abcd-s8", "a08-0123abcd-s10"]
    assert named("a08-0123abcd") == ("a08-0123abcd", seeds) and named("a08") == ("a08", seeds)
    assert named("a08-0123abcd-s7") == ("a08-0123abcd-s7", ["a08-0123abcd-s7"])
    with pytest.raises(ValueError, match="b01 has seeds of 2 settings; name one: b01-11111111, b01-22222222"):
        named("b01")
    for wrong in ("=one", "deep=", "deep=one,,two"):
        with pytest.raises(ValueError, match="write NAME=RUN,RUN"):
            named(wrong)
    with pytest.raises(ValueError, match="'deep=one,one' lists a run twice"):
        named("deep=one,one")


def test_runs_of_a_setting_differ_in_their_seeds_alone():
    runs = [make_run([1, 2], name=f"s{seed}", seed=seed) for seed in (7, 8, 9)]
    check_setting(Setting("x", runs))
    assert paired_seeds(Setting("x", runs), Setting("y", runs)) and by_seed(Setting("y", runs[::-1])).runs == runs
    composed = [replace(run, params=dict(run.params) | {"composed": {"seed": 0}}) for run in runs]
    assert not paired_seeds(Setting("x", runs), Setting("y", composed))
    assert not paired_seeds(Setting("x", runs[:2]), Setting("y", runs[1:]))
    assert not paired_seeds(Setting("x", runs[:1]), Setting("y", runs[:1]))
    with pytest.raises(ValueError, match="x: s7 and s8 have the same train.seed = 7"):
        check_setting(Setting("x", [runs[0], replace(runs[1], params=runs[0].params)]))
    other = replace(runs[1], params=dict(runs[1].params) | {"train": {"seed": 8, "epochs": 3}})
    with pytest.raises(ValueError, match=r"x: s7 and s8 are not one setting: train.epochs is \(absent\) and 3; only"):
        check_setting(Setting("x", [runs[0], other]))
    faster = replace(runs[1], params=dict(runs[1].params) | {"runtime": {"workers": 3}})
    check_setting(Setting("x", [runs[0], faster]))

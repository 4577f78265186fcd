"""What each check of `vitrine doctor` says about made-up states: the level, words of the fault, and the way out."""

from pathlib import Path

import pytest

from pipeline_lib.experiments.doctor.checks import CHECKS
from pipeline_lib.experiments.doctor.disk import Disk, judge_disk, planned_members
from pipeline_lib.experiments.doctor.dvc_state import (
    Cache,
    CachePlace,
    Leftovers,
    judge_cache,
    judge_leftovers,
    judge_lock_files,
)
from pipeline_lib.experiments.doctor.finding import NOTE, OK, PROBLEM
from pipeline_lib.experiments.doctor.machine import (
    Cores,
    Gpu,
    Memory,
    cpu_quota,
    judge_cores,
    judge_gpu,
    judge_memory,
    memory_limit,
)
from pipeline_lib.experiments.doctor.project import ParamsFacts, TowerWeights, judge_params, judge_weights
from pipeline_lib.experiments.doctor.versions import Versions, judge_versions

GB = 10**9


def cache(links: list[str], same_device: bool, remotes: list[str]) -> Cache:
    return Cache(CachePlace(Path("c"), links, same_device, remotes), GB)


AUTO = {"train.precision": "auto", "embed.precision": "auto"}
BF16, TF32 = {"train.precision": "bf16"}, {"embed.precision": "tf32"}
PINNED = {"torch": ("2.1", "2.1"), "dvc": ("3.0", "3.0")}
CARD = "H200, 143771 MiB, 570.1"


@pytest.mark.parametrize(
    ("judge", "state", "expected"),
    [
        (judge_versions, Versions((3, 12, 1), PINNED), [(OK, "torch 2.1", "")]),
        (judge_versions, Versions((3, 12, 1), {"torch": ("2.1+cpu", "2.1")}), [(OK, "torch 2.1+cpu", "")]),
        (judge_versions, Versions((3, 10, 9), PINNED), [(PROBLEM, "3.10.9", "3.11")]),
        (judge_versions, Versions((3, 12, 1), {"av": (None, "1")}), [(PROBLEM, "not installed: av", "pip")]),
        (judge_versions, Versions((3, 12, 1), {"av": ("2", "1")}), [(NOTE, "av 2 (tested: 1)", "pip install")]),
        (judge_cores, Cores(8, 8, None, 8, None), [(OK, "8 of 8", "")]),
        (judge_cores, Cores(64, 64, 2.0, 2, None), [(NOTE, "64 threads", "OMP_NUM_THREADS=2")]),
        (judge_cores, Cores(64, 64, 2.0, 2, "2"), [(OK, "2 of 64", "")]),
        (judge_cores, Cores(64, 4, None, 16, None), [(NOTE, "runtime.workers = 16", "runtime.workers to 4")]),
        (judge_cores, Cores(4, 4, 0.5, 1, "1"), [(OK, "1 of 4", "")]),
        (judge_memory, Memory(16 * GB, None, 9 * GB, 8 * GB, 8 * GB), [(OK, "16.0 GB", "")]),
        (judge_memory, Memory(16 * GB, 2 * GB, 1 * GB, None, None), [(NOTE, "2.0 GB", "batch_size")]),
        (judge_memory, Memory(16 * GB, None, 9 * GB, 67108864, 67108864), [(PROBLEM, "67 MB", "--shm-size")]),
        (judge_memory, Memory(16 * GB, None, 9 * GB, 8 * GB, 1000), [(PROBLEM, "nearly full", "ls -la /dev/shm")]),
        (judge_gpu, Gpu([], None, "auto", True, BF16), [(OK, "no GPU", "")]),
        (judge_gpu, Gpu([], None, "auto", False, AUTO), [(OK, "`auto` is fp32", "")]),
        (judge_gpu, Gpu([], None, "auto", False, BF16), [(NOTE, "train.precision = bf16, which this CPU", "fp32")]),
        (judge_gpu, Gpu([], None, "cpu", True, TF32), [(PROBLEM, "embed.precision = tf32", "fp32")]),
        (judge_gpu, Gpu([], "13.0", "cuda", True, AUTO), [(PROBLEM, "no GPU is visible", "auto or cpu")]),
        (judge_gpu, Gpu([CARD], None, "auto", True, AUTO), [(PROBLEM, "CPUs alone", "CUDA build")]),
        (judge_gpu, Gpu([CARD], "13.0", "auto", True, BF16), [(OK, "H200", "")]),
        (judge_params, ParamsFacts(None), [(OK, "every value fits the data", "")]),
        (judge_params, ParamsFacts(None, False), [(OK, "no catalogue yet", "")]),
        (judge_params, ParamsFacts("params.yaml: a fault"), [(PROBLEM, "a fault", "vitrine check")]),
        (judge_weights, [TowerWeights("model.image.name", "x", "local", 2)], [(OK, "2 complete .safe", "")]),
        (judge_weights, [TowerWeights("a", "x", "local", 0, ("a.bin",))], [(PROBLEM, "only a.bin", "convert")]),
        (judge_weights, [TowerWeights("a", "x", "local", 0)], [(PROBLEM, "no weights", "pretrained")]),
        (judge_weights, [TowerWeights("a", "x", "local", 1, (), ("f: cut",))], [(PROBLEM, "f: cut", "again")]),
        (judge_weights, [TowerWeights("a", "x", "missing")], [(PROBLEM, "no such", "dvc pull")]),
        (judge_weights, [TowerWeights("a", "x", "made")], [(OK, "a stage makes it", "")]),
        (judge_weights, [TowerWeights("a", "org/x", "hub")], [(NOTE, "network", "data/weights")]),
        (judge_weights, [TowerWeights("a", "x", "random")], [(NOTE, "random weights", "pretrained")]),
        (judge_lock_files, {}, [(OK, "nothing has run", "")]),
        (judge_lock_files, {"dvc.yaml": None, "dvc.lock": None}, [(OK, "complete", "")]),
        (judge_lock_files, {"dvc.lock": "cut"}, [(PROBLEM, "dvc.lock: cut", "rm dvc.lock && dvc repro")]),
        (judge_lock_files, {"dvc.yaml": "cut"}, [(PROBLEM, "dvc.yaml: cut", "git checkout dvc.yaml")]),
        (judge_leftovers, Leftovers(), [(OK, "branch main", "")]),
        (judge_leftovers, Leftovers(rwlock="damaged"), [(PROBLEM, "killed", "rm .dvc/tmp/rwlock")]),
        (judge_leftovers, Leftovers(running=["dvc repro"], parts=["x"]), [(NOTE, "DVC runs now: dvc repro", "wait")]),
        (judge_leftovers, Leftovers(unfinished=2, unfinished_bytes=5 * 10**6), [(NOTE, "2 unfinished runs", "resume")]),
        (judge_leftovers, Leftovers(parts=["data/work/.x.part"]), [(NOTE, "data/work/.x.part", "replaces")]),
        (judge_leftovers, Leftovers(branch=None), [(NOTE, "detached", "git checkout main")]),
        (judge_leftovers, Leftovers(branch=""), [(NOTE, "not a git", "git init")]),
        (judge_cache, cache(["reflink", "copy"], True, ["s3"]), [(OK, "reflink; remotes: s3", "")]),
        (judge_cache, cache(["copy"], True, ["s3"]), [(NOTE, "stored twice", "cache.type")]),
        (judge_cache, cache(["hardlink"], False, ["s3"]), [(NOTE, "another filesystem", "cache.type")]),
        (judge_cache, cache(["hardlink"], True, []), [(NOTE, "1.00 GB, no remote", "dvc push")]),
        (judge_disk, Disk(9 * GB, {"train": 3 * GB}, {"embed": GB}, [], 1), [(OK, "4.00 GB (train 3.00, embed", "")]),
        (judge_disk, Disk(9 * GB, {"train": 3 * GB}, {"embed": GB}, [], 2), [(NOTE, "about 8.00 GB", "dvc gc")]),
        (judge_disk, Disk(3 * GB, {"train": 3 * GB}, {"embed": GB}, [], 1), [(PROBLEM, "3.0 GB free", "clean")]),
        (judge_disk, Disk(GB, {}, {}, ["shards"], 1), [(OK, "not counted before the catalogue has run: shards", "")]),
    ],
)  # fmt: skip
def test_a_state_is_judged(judge, state, expected):
    found = judge(state)
    assert len(found) == len(expected)
    for finding, (level, message, action) in zip(found, expected, strict=True):
        assert finding.level == level and message in finding.message and action in finding.action
        # Every finding but a good one says what to do.
        assert bool(finding.action) == (level != OK)


def test_two_faults_of_one_check_are_two_findings():
    assert [one.level for one in judge_leftovers(Leftovers(rwlock="damaged", branch=None))] == [PROBLEM, NOTE]
    faulty = Versions((3, 9, 0), {"av": (None, None), "dvc": ("2", "3")})
    assert [one.level for one in judge_versions(faulty)] == [PROBLEM, PROBLEM, NOTE]


def test_checks_have_names_of_their_own():
    assert len({check.name for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize(
    ("files", "quota", "limit"),
    [
        ({"cpu.max": "150000 100000\n", "memory.max": "1000\n"}, 1.5, 1000),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "memory/memory.limit_in_bytes": "9223372036854771712"}, None, None),
        ({}, None, None),
    ],
)
def test_limits_of_a_cgroup_are_read(tmp_path, files, quota, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (quota, limit)


def test_the_plan_multiplies_stages():
    stages = {"a": {}, "b": {"matrix": {"x": "${plan.x}", "y": "${plan.y}"}}, "c": {"matrix": {"z": "${plan.z}"}}}
    assert planned_members(stages, {"plan": {"x": [1, 2, 3], "y": [4, 5], "z": []}}) == {"a": 1, "b": 6}

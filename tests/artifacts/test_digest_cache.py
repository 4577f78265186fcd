"""Stored hashes are those of the bytes: whatever changes a file, and whatever happens to the file of hashes."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline_lib.artifacts import digest_cache, paths
from pipeline_lib.artifacts.digest_cache import FILE, SETTLED_NS, DigestCache, stored_digests
from pipeline_lib.artifacts.digests import digest_folder, digest_path
from pipeline_lib.execution.stage import Stage

ROOT = Path(__file__).parents[2]
LATER = 10 * SETTLED_NS


@pytest.fixture
def read(monkeypatch):
    """The names of the files that are read; all files count as large, and as changed 20 s ago."""
    names, original = [], hashlib.file_digest

    def recording(stream, kind):
        names.append(Path(stream.name).name)
        return original(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", recording)
    monkeypatch.setattr(digest_cache, "MIN_BYTES", 0)
    monkeypatch.setattr(digest_cache, "time_ns", lambda: time.time_ns() + LATER)
    return names


@pytest.fixture
def hashes(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work/.digests"


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"a" * 100)
    return path


def cached(hashes, *files):
    """What a stage gets for files: SHA-256 in hexadecimal digits."""
    with stored_digests(hashes) as digests:
        return [digests.digest_file(path).hex() for path in files]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def until_the_clock_of_files_moves(path, change):
    """Repeat a change until the file's change time is another one: its clock ticks every few milliseconds."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        change()


def slow_digest(path):
    """The hash as it was defined before there were stored ones."""
    if path.is_file():
        named = [(path.as_posix(), path)]
    else:
        files = [one for one in sorted(path.rglob("*")) if one.name not in (".gitignore", ".gitkeep")]
        named = [(one.relative_to(path).as_posix(), one) for one in files if one.is_file()]
    total = hashlib.sha256()
    for name, one in named:
        total.update(name.encode() + b"\0" + hashlib.sha256(one.read_bytes()).digest())
    return total.hexdigest()[:16]


NAMES = st.sampled_from(["a", "b.bin", "é", ".gitignore", ".gitkeep", "x y"])
TREES = st.recursive(st.binary(max_size=40), lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=12)


def write_tree(path, tree):
    if isinstance(tree, bytes):
        path.write_bytes(tree)
        return
    path.mkdir()
    for name, inner in tree.items():
        write_tree(path / name, inner)


@given(first=TREES, second=TREES)
def test_with_and_without_stored_hashes_a_tree_has_the_hash_of_the_slow_loop(first, second):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        patch.setattr(digest_cache, "MIN_BYTES", 0)
        patch.setattr(digest_cache, "time_ns", lambda: time.time_ns() + LATER)
        tree, hashes = Path(name) / "tree", Path(name) / ".digests"
        for content in (first, second):  # the second one finds hashes of the paths of the first
            write_tree(tree, content)
            expected = slow_digest(tree)
            assert digest_path(tree) == expected
            for _ in range(2):
                with stored_digests(hashes) as digests:
                    assert digest_path(tree, digests.digest_file) == expected
            tree.unlink() if tree.is_file() else shutil.rmtree(tree)


def test_an_unchanged_file_is_read_once_by_all_processes(hashes, weights, read):
    assert cached(hashes, weights) == cached(hashes, weights) == cached(hashes, weights, weights)[:1]
    assert read == ["weights.bin"]


def test_kinds_of_hashes_of_a_file_are_stored_apart(hashes, weights, read):
    """They go with the file: after an edit each is computed again."""
    calls = []

    def hash_as(kind, value):
        with stored_digests(hashes) as digests:
            return digests.digest(weights, kind, lambda _: calls.append(kind) or value)

    assert [hash_as("x", b"1"), hash_as("y", b"2"), cached(hashes, weights)[0]] == [b"1", b"2", sha256(b"a" * 100)]
    assert [hash_as("x", b"3"), hash_as("y", b"3"), cached(hashes, weights)[0]] == [b"1", b"2", sha256(b"a" * 100)]
    assert (calls, read) == (["x", "y"], ["weights.bin"])
    until_the_clock_of_files_moves(weights, lambda: weights.write_bytes(b"b" * 100))
    assert [hash_as("x", b"3"), hash_as("y", b"4")] == [b"3", b"4"]


def test_outside_a_project_nothing_is_stored(tmp_path, weights, read, capsys):
    hashes = tmp_path / "none/.digests"
    assert cached(hashes, weights) == cached(hashes, weights) == [sha256(b"a" * 100)]
    assert len(read) == 2 and not hashes.parent.exists() and not capsys.readouterr().err


def test_an_edit_of_the_same_size_with_its_old_time_is_found(hashes, weights, read):
    cached(hashes, weights)
    before = weights.stat()

    def edit():
        with weights.open("r+b") as stream:
            stream.write(b"b")
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    until_the_clock_of_files_moves(weights, edit)
    now = weights.stat()
    assert (now.st_ino, now.st_size, now.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    assert cached(hashes, weights) == [sha256(b"b" + b"a" * 99)]


def test_a_file_that_takes_the_place_of_another_is_read(hashes, weights, read, tmp_path):
    cached(hashes, weights)
    before, other = weights.stat(), tmp_path / "other.bin"
    other.write_bytes(b"b" * 100)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(weights)
    assert weights.stat().st_mtime_ns == before.st_mtime_ns and weights.stat().st_ino != before.st_ino
    assert cached(hashes, weights) == [sha256(b"b" * 100)]


def test_an_edit_of_the_same_size_is_read(hashes, weights, read):
    cached(hashes, weights)
    until_the_clock_of_files_moves(weights, lambda: weights.write_bytes(b"b" * 100))
    assert cached(hashes, weights) == [sha256(b"b" * 100)]


@pytest.mark.parametrize("part", ["st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"])
def test_each_part_of_the_identity_counts(hashes, weights, read, part, monkeypatch):
    cached(hashes, weights)
    about = weights.stat()
    values = {name: getattr(about, name) for name in dir(about) if name.startswith("st_")}
    other = SimpleNamespace(**values | {part: values[part] + 1})
    monkeypatch.setattr(os, "fstat", lambda _: other)
    cached(hashes, weights)
    assert len(read) == 2


@pytest.mark.parametrize("time_of", ["st_mtime_ns", "st_ctime_ns"])
@pytest.mark.parametrize(("age", "reads"), [(-1, 2), (0, 2), (SETTLED_NS, 2), (SETTLED_NS + 1, 1)])
def test_what_changed_just_now_or_in_the_future_is_not_stored(hashes, weights, read, time_of, age, reads, monkeypatch):
    """A further edit might get the same times."""
    modified = weights.stat().st_mtime_ns + (LATER if time_of == "st_mtime_ns" else -LATER)
    os.utime(weights, ns=(modified, modified))
    about = weights.stat()
    assert (about.st_mtime_ns > about.st_ctime_ns) == (time_of == "st_mtime_ns")
    monkeypatch.setattr(digest_cache, "time_ns", lambda: getattr(about, time_of) + age)
    cached(hashes, weights)
    cached(hashes, weights)
    assert len(read) == reads and hashes.exists() == (reads == 1)


def test_what_changes_while_it_is_read_is_not_stored(hashes, weights, read, monkeypatch):
    recording = hashlib.file_digest

    def edited(stream, kind):
        found = recording(stream, kind)
        until_the_clock_of_files_moves(weights, lambda: weights.write_bytes(b"b" * 100))
        return found

    monkeypatch.setattr(hashlib, "file_digest", edited)
    assert cached(hashes, weights) == [sha256(b"a" * 100)]
    monkeypatch.setattr(hashlib, "file_digest", recording)
    assert not hashes.exists() and cached(hashes, weights) == [sha256(b"b" * 100)]


def test_small_files_are_not_stored(hashes, tmp_path, read, monkeypatch):
    monkeypatch.setattr(digest_cache, "MIN_BYTES", 1000)
    for size in (999, 1000):
        (tmp_path / str(size)).write_bytes(bytes(size))
    for _ in range(2):
        cached(hashes, tmp_path / "999", tmp_path / "1000")
    assert read == ["999", "1000", "999"]


@pytest.mark.parametrize("kind", ["fuse.sshfs", "nfs4", "9p", None])
def test_files_of_other_file_systems_are_always_read(hashes, weights, read, kind, monkeypatch):
    mounts = digest_cache._read_file_systems(Path("/proc/self/mountinfo")) if kind else {}
    monkeypatch.setattr(digest_cache, "_read_file_systems", lambda _: dict.fromkeys(mounts, kind))
    assert cached(hashes, weights) == cached(hashes, weights)
    assert len(read) == 2 and not hashes.exists()


def test_file_systems_are_read_as_linux_lists_them(tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
        "40 36 0:44 / /home/a\\040-\\040b rw,nosuid shared:7 master:1 - fuse.sshfs host:/a - b rw\n"
        "41 36 0:45 / /run rw - tmpfs none rw\n"
    )
    assert digest_cache._read_file_systems(mounts) == {36: "ext3", 40: "fuse.sshfs", 41: "tmpfs"}
    assert digest_cache._read_file_systems(tmp_path / "none") == {}


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"\x00" * 500, b"vitrine digests 2 00\n{}", b"[]\n[]\n"])
def test_a_foreign_file_counts_as_none_and_is_replaced(hashes, weights, read, content, capsys):
    hashes.write_bytes(content)
    assert cached(hashes, weights) == cached(hashes, weights) == [sha256(b"a" * 100)]
    assert read == ["weights.bin"] and capsys.readouterr().err == ""


def test_a_damaged_file_never_gives_a_wrong_hash(hashes, weights, read):
    cached(hashes, weights)
    sound = hashes.read_bytes()
    for place in range(len(sound)):
        flipped = sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :]
        for damaged in (sound[:place], flipped, sound[place + 1 :]):
            hashes.write_bytes(damaged)
            assert DigestCache(hashes).digest_file(weights).hex() == sha256(b"a" * 100)
    assert len(read) == 1 + 3 * len(sound)


def test_a_folder_in_place_of_the_file_is_a_line_and_no_failure(hashes, weights, read, capsys):
    hashes.mkdir(parents=True)
    for _ in range(3):  # as a stage with several large inputs does
        assert cached(hashes, weights) == [sha256(b"a" * 100)]
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{hashes}: hashes are not stored, the next stage reads the files again: ")
    assert list(hashes.parent.iterdir()) == [hashes]


def test_stages_side_by_side_add_to_one_file(hashes, tmp_path, read):
    files = [tmp_path / name for name in "ab"]
    for path in files:
        path.write_bytes(b"content")
    with stored_digests(hashes) as first, stored_digests(hashes) as second:
        first.digest_file(files[0])
        second.digest_file(files[1])
    cached(hashes, *files)
    assert read == ["a", "b"]


def test_hashes_of_removed_and_changed_files_go(hashes, tmp_path, read):
    files = [tmp_path / name for name in ("removed", "changed", "same")]
    for path in files:
        path.write_bytes(b"content")
    cached(hashes, *files)
    files[0].unlink()
    files[1].write_bytes(b"other")
    (tmp_path / "new").write_bytes(b"new")
    cached(hashes, tmp_path / "new")
    names = [name.partition(digest_cache.SEPARATOR)[0] for name in digest_cache._read(hashes)]
    assert sorted(Path(name).name for name in names) == ["new", "same"]


def test_a_kill_while_it_is_written_leaves_the_hashes_before_it(hashes, weights, read, tmp_path):
    cached(hashes, weights)
    before, other = hashes.read_bytes(), tmp_path / "other"
    other.write_bytes(b"other")
    if (child := os.fork()) == 0:
        Path.replace = lambda *_: os._exit(9)  # the moment before the new file takes its place
        cached(hashes, other)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert sorted(path.name for path in hashes.parent.iterdir()) == [".digests", f".digests.{child}.part"]
    assert hashes.read_bytes() == before
    cached(hashes, other)
    assert list(hashes.parent.iterdir()) == [hashes] and len(digest_cache._read(hashes)) == 2


def test_the_fingerprint_of_a_stage_reads_large_files_once(tmp_path, read, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    folder = Path("data/weights/tower")
    folder.mkdir(parents=True)
    FILE.parent.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    first, second = (Stage("stages.train", tmp_path).fingerprint(folder, fold=0) for _ in range(2))
    assert first == second and read == ["model.safetensors"]
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert Stage("stages.train", tmp_path).fingerprint(folder, fold=0) != first
    assert Path(FILE).is_file()


def test_the_file_is_ignored_by_git_and_no_dep_or_out_has_it():
    subprocess.run(["git", "check-ignore", "-q", FILE], cwd=ROOT, check=True)
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    named = [one if isinstance(one, str) else next(iter(one)) for stage in stages for one in stage.get("deps", [])]
    named += [one if isinstance(one, str) else next(iter(one)) for stage in stages for one in stage["outs"]]
    assert len(named) > 50 and FILE.parent == paths.WORK
    assert not [name for name in named if Path(name) in (FILE, *FILE.parents)]


def test_a_folder_that_is_missing_is_an_error_as_before(tmp_path):
    with pytest.raises(ValueError, match="none: no such file or folder; run `dvc repro` to create it"):
        digest_folder(tmp_path / "none")

"""Composed training end to end on made features: it learns, resumes bit for bit, and writes what evaluation reads."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from composed_project import ROOT, composed_config, write_composed_project
from safetensors.torch import load_file

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.models.composed.saved import load_composed
from pipeline_lib.params.section import load_params
from pipeline_lib.splitting.seen import read_model_seen
from pipeline_lib.stores.store import open_store
from pipeline_lib.training.composed import batches
from pipeline_lib.training.composed.fold import train_composed
from pipeline_lib.training.composed.mining import NONE
from pipeline_lib.training.composed.trainer import ComposedTrainer
from pipeline_lib.training.composed.triplets import composed_tables
from pipeline_lib.training.history import History


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_composed_project(tmp_path_factory.mktemp("composed"))


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def run(folders, name: str, kind: str = "sum", fingerprint: str | None = None, **changes) -> Path:
    out = Path(name)
    out.mkdir()
    train_composed(composed_config(kind, **changes), folders, 0, fingerprint or name, out)
    return out


def best(out: Path) -> dict:
    return read_object(out / "model.json")["run"]["best"]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("sum", {}),
        ("combiner", {}),
        ("q_former", {"epochs": 4, "lr": 0.005, "batch_size": 16, "q_former": {"width": 32, "dropout": 0.0}}),
        ("sum", {"fusion": "gated", "losses": {"patch_contrast": 0.2}}),
    ],
)
def test_training_beats_the_initial_weights(folders, kind, changes):
    untrained, trained = run(folders, "untrained", kind, **changes | {"epochs": 0}), run(folders, "t", kind, **changes)
    assert best(trained)["R@5"] > best(untrained)["R@5"] + 0.15
    assert read_object(untrained / "model.json")["run"]["best_epoch"] == 0
    assert pl.read_csv(trained / "history.csv").height == changes.get("epochs", 3)


def test_sentences_that_the_q_formers_tokenizer_cuts_get_a_line(folders, capsys):
    run(folders, "cut", "q_former", epochs=0, q_former={"max_tokens": 3})
    line = (
        "text: composed.q_former.max_tokens = 3 cuts off the end of 100% of the training sentences; 95% of them have at"
    )
    assert line in capsys.readouterr().err
    run(folders, "enough", "q_former", epochs=0)
    run(folders, "sum", "sum", epochs=0)
    assert "cuts off" not in capsys.readouterr().err


def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(folders, monkeypatch, capsys):
    """With dropout and mined negatives, stopped in the epoch that uses them; curves are closed, batches counted."""
    changes, stop = {"mining": "hard", "q_former": {"dropout": 0.3}, "batch_size": 64}, 1
    straight = run(folders, "straight", "q_former", **changes)
    totals = re.compile(r"^training composed-q_former-0-\w+: (\d+) batches in ", re.MULTILINE)
    (num_batches,) = map(int, totals.findall(capsys.readouterr().out))
    epoch, calls, closed = ComposedTrainer._epoch, [], []

    def stopping(trainer, number, *rest):
        done = epoch(trainer, number, *rest)
        calls.append(number)
        if number == stop:
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ComposedTrainer, "_epoch", stopping)
        patch.setattr(History, "close", lambda history: closed.append(history))
        run(folders, "stopped", "q_former", "again", **changes)
    assert calls == list(range(stop + 1)) and len(closed) == 1 and not totals.search(capsys.readouterr().out)
    resumed = run(folders, "resumed", "q_former", "again", **changes)
    # The epoch in which it stopped was not saved.
    assert list(map(int, totals.findall(capsys.readouterr().out))) == [num_batches * (3 - stop) // 3]
    for name in ("model.safetensors", "history.csv", "queries/matrix.npy", "products/matrix.npy"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes(), name


def test_as_many_negatives_are_mined_as_a_query_shall_add_to_its_batch(folders, monkeypatch):
    counted = []
    draw = batches.draw_negatives

    def counting(mined, queries, each, seed, epoch):
        counted.append(((mined[queries] != NONE).sum(axis=1).min(), each))
        return draw(mined, queries, each, seed, epoch)

    monkeypatch.setattr(batches, "draw_negatives", counting)
    run(folders, "mined", mining="hard", mined_negatives=20, epochs=2)
    assert counted and all(available >= each == 20 for available, each in counted)


def test_what_a_run_writes_is_its_model_s(folders):
    """The stores are the embeddings of the saved model, the card names its data, and nothing measured was seen."""
    out = run(folders, "out", "q_former", epochs=1)
    saved = load_composed(out)
    queries, products = open_store(out / "queries"), open_store(out / "products")
    assert queries.header.encoder == products.header.encoder == saved.fingerprint
    assert queries.header.dim == 16 and products.header.dim == 4 * 16
    assert np.allclose(np.linalg.norm(queries.matrix, axis=1), 1, atol=1e-5)
    assert saved.tokenizer is not None and saved.card["run"]["composed"]["epochs"] == 1
    folds = pl.read_parquet(folders.folds / "folds.parquet")
    measured = folds.filter((pl.col("fold") == 0) | (pl.col("split") == "test"))["product_id"]
    assert set(products.ids) == set(measured)
    seen = read_model_seen(out)
    assert seen is not None and len(seen.ids) == folds.height - len(measured)


def test_the_tables_that_a_run_reads_are_deps_of_its_stage(folders, monkeypatch):
    opened, original = set(), pl.read_parquet

    def recording(source, **options):
        opened.add(Path(source))
        return original(source, **options)

    monkeypatch.setattr(pl, "read_parquet", recording)
    run(folders, "read", epochs=0)
    tables = {path for path in opened if path.is_relative_to(folders.catalogue.parent)}
    tables = {path for path in tables if not path.is_relative_to(folders.trunk)}
    assert tables == set(composed_tables(folders.catalogue, folders.folds))
    deps = load_params(ROOT / "dvc.yaml")["stages"]["compose"]["deps"]
    declared = {path.relative_to(folders.catalogue.parent) for path in tables}
    assert {(paths.WORK / path).as_posix() for path in declared} == {dep for dep in deps if dep.endswith(".parquet")}


def test_the_initial_weights_do_not_depend_on_the_fold_or_the_epochs(folders):
    one = load_file(run(folders, "one", epochs=0) / "model.safetensors")
    other = run(folders, "other", epochs=1, lr=0.0)
    assert all((one[name] == value).all() for name, value in load_file(other / "model.safetensors").items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"best_metric": "mean"}, r"composed.best_metric = 'mean', but composed.protocol = 'catalogue' measures R@1"),
        ({"protocol": "cirr", "best_metric": "mAP@5"}, r"measures R@1, R@5, R@10, R@50, R_subset@1"),
    ],
)
def test_a_figure_that_the_protocol_lacks_is_named(folders, changes, message):
    with pytest.raises(ValueError, match=message):
        run(folders, "wrong", epochs=1, **changes)


def test_a_missing_store_says_which_setting_makes_it(tmp_path):
    without = write_composed_project(tmp_path / "project", num_shapes=6, tokens=False)
    with pytest.raises(ValueError, match=r"q_former, which reads image tokens; set features.trunk.at = tokens"):
        run(without, "former", "q_former")
    for store in (without.trunk / "text").iterdir():
        store.unlink()
    (without.trunk / "text").rmdir()
    with pytest.raises(ValueError, match=r"no text features are stored.*set plan.features = \[trunk\]"):
        run(without, "sum")

"""No artefact of a project has the path of the checkout, the host or the user: it is the same wherever it is made."""

import ast
from pathlib import Path

import pytest
from machine_names import NAMES, naming
from other_machine import HOST, USER

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def project(built_project, fork_server, tmp_path_factory):
    """The built project, with saved models and predictions."""
    project = built_project.copy(tmp_path_factory.mktemp("saved") / "project", fork_server)
    project.run_vitrine("keep", "workspace", "mine")
    project.run_vitrine("keep-predictions", "workspace", "mine")
    return project


def artefacts(folder: Path) -> list[Path]:
    roots = ("data/work", "data/starts", "data/predictions", "data/splits", "reports", "dvc.lock")
    return [path for root in roots for path in [folder / root, *(folder / root).rglob("*")] if path.is_file()]


def test_no_artefact_of_a_built_project_names_the_machine(project, built_project):
    files = artefacts(project.folder)
    stages = {path.relative_to(project.folder / "data/work").parts[0] for path in files if "work" in path.parts}
    assert stages >= {"catalogue", "folds", "shards", "features", "views", "train", "embed", "gallery", "index",
                      "ensemble", "baselines", "evaluation", "code", "phases"}  # fmt: skip
    kinds = {path.suffix for path in files}
    assert kinds >= {".parquet", ".json", ".npy", ".safetensors", ".tar", ".html", ".csv", ".svg", ".lock"}
    assert any("starts/mine/0" in str(path) for path in files) and any(
        "predictions/mine" in str(path) for path in files
    )
    assert not naming(files, *(str(one.folder) for one in (project, built_project)), str(project.folder.parents[1]))


def test_the_project_was_built_on_the_other_machine(project):
    """So its host and its user would have been found."""
    code = f"import sys; sys.path.append({str(SUPPORT)!r}); import other_machine; print(other_machine.seen_names())"
    assert set(ast.literal_eval(project.run("python", "-c", code).stdout)) == {HOST, USER}
    assert {HOST, USER} <= set(NAMES)


def test_a_name_is_found_wherever_it_is(project, tmp_path):
    """The search itself: in a parquet cell, a tar, a tensor file's header, a picture of a page."""
    import base64
    import tarfile

    import polars as pl
    import torch
    from safetensors.torch import save_file

    name = "/home/somebody/checkout"
    pl.DataFrame({"a": [name * 3]}).write_parquet(tmp_path / "a.parquet", compression="zstd")
    save_file({"w": torch.zeros(1)}, tmp_path / "b.safetensors", metadata={"from": name})
    (tmp_path / "c.html").write_text(f"<img src=data:image/png;base64,{base64.b64encode(name.encode()).decode()}>")
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    (tmp_path / "e.json").write_text('"' + name.replace("/", "\\/") + '"')
    (tmp_path / "none.json").write_text('"/home/another"')
    assert set(naming(sorted(tmp_path.iterdir()), name)) == {
        str(tmp_path / file) for file in ("a.parquet", "b.safetensors", "c.html", "d.tar", "e.json")
    }

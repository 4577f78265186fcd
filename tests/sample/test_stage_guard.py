"""The sample's stages, which share no code with the pipeline, refuse an edit of any dep while they run, too."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from shop import stage

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
STAGES = YAML(typ="safe").load((SAMPLE / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.mark.parametrize("name", STAGES)
def test_a_change_of_any_dep_keeps_the_old_output(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE / "dvc.yaml", tmp_path)
    Path("params.yaml").write_text(f"{name}: {{count: 3}}\n")
    # A dep without an ending is a folder that another stage writes.
    deps = [Path(dep) if Path(dep).suffix else Path(dep, "tower/model") for dep in STAGES[name]["deps"]]
    for dep in deps:
        dep.parent.mkdir(parents=True, exist_ok=True)
        dep.write_text("first")
    with stage.fresh_folder(Path(name)) as out:
        (out / "old").touch()
    for dep in deps:
        with pytest.raises(ValueError, match="changed while the stage ran"), stage.fresh_folder(Path(name)):
            dep.write_text("other")
    assert [path.name for path in Path(name).iterdir()] == ["old"]

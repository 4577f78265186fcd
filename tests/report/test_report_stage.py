"""The stage: reads params.yaml and the files of a run, writes the page and its figures."""

from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from pipeline_lib.artifacts import paths
from pipeline_lib.params.report import ReportParams
from pipeline_lib.params.section import load_params, parse_section
from stages import report

ROOT = Path(__file__).parents[2]
PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")
OVERRIDES = ["plan.folds=[0,1]", "plan.scales=[64]", "data.root=data/raw/mine", "report.attention=0"]


def test_the_stage_writes_the_page_and_clears_old_figures(make_run, monkeypatch, capsys):
    run = make_run()
    monkeypatch.chdir(run.root)
    Path("params.yaml").write_text(PARAMS, encoding="utf-8")
    apply_overrides(Path("params.yaml"), OVERRIDES)
    stale = paths.FIGURES / "old.svg"
    stale.parent.mkdir(parents=True)
    stale.write_text("old")
    report.main()
    assert "data/raw/mine" in paths.PAGE.read_text(encoding="utf-8")
    assert not stale.exists()
    names = {path.stem for path in paths.FIGURES.iterdir()}
    assert names == {
        "learning_loss", "learning_MeanRecall", "learning_top1", "recall_text_to_image", "recall_image_to_text",
        "confusion_test", "confusion_oof", "reliability_test", "reliability_oof", "text_lengths",
        "similarity_test", "similarity_oof", "hubs_test", "hubs_oof",
        "embeddings_by_modality", "embeddings_by_category",
    }  # fmt: skip
    assert "16 figures" in capsys.readouterr().out
    first = paths.PAGE.read_bytes()
    report.main()
    assert paths.PAGE.read_bytes() == first


def test_a_missing_input_is_one_line_and_a_failure(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS, encoding="utf-8")
    apply_overrides(Path("params.yaml"), OVERRIDES)
    with pytest.raises(SystemExit, match="1"):
        report.main()
    assert "stages.report: error:" in (error := capsys.readouterr().err) and "metrics.json" in error


def test_the_project_s_own_params_fit():
    section = parse_section(ReportParams, load_params(ROOT / "params.yaml"))
    assert section.queries > 0 and section.misses > 0
    with pytest.raises(ValueError, match=r"report\.queries = -1"):
        parse_section(ReportParams, {"report": {"queries": -1, "misses": 0}})

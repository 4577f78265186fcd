"""Turns a run's figures, rankings and photos into one HTML page that opens offline, and its figures as SVG files."""

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.meter import metered
from pipeline_lib.execution.stage import stage


def main() -> None:
    with stage("stages.report") as run, metered("report") as meter, meter.beating():
        # Slow imports, which a process that only forks another does not need.
        from pipeline_lib.params.report import ReportParams
        from pipeline_lib.report.inputs import read_inputs
        from pipeline_lib.report.page import build_report

        params = run.section(ReportParams)
        folds = run.value("plan.folds", list[int])
        scales = run.value("plan.scales", list[int])
        data_root, interpolation = run.value("data.root", str), run.value("embed.interpolation", float)
        meter.announce(f"the figures of {len(folds)} folds at {len(scales)} sizes, {params.queries} example queries")
        meter.begin("the page")
        report = build_report(read_inputs(folds), params, data_root, scales, interpolation)
        with fresh_folder(paths.FIGURES) as out:
            for name, figure in report.figures.items():
                (out / f"{name}.svg").write_text(figure, encoding="utf-8")
        paths.PAGE.write_text(report.page, encoding="utf-8")
        meter.finish()
        print(f"{paths.PAGE}: {len(report.page.encode()) / 1e6:.2f} MB, {len(report.figures)} figures")


if __name__ == "__main__":
    # Maps of attention load a model, whose libraries the server of `embed` has imported.
    run_stage("stages.report", main, starts=False)

"""Lists the files of code that each stage can run, with hashes; an edit reruns the stages whose list it changes."""

from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.stage import stage
from pipeline_lib.execution.stage_code import write_code


def main() -> None:
    with stage("stages.code"), fresh_folder(paths.CODE) as out:
        names = sorted({script.stem for script in Path("stages").glob("*.py")} - {"__init__", "code"})
        files = {path for name in names for path in write_code(f"stages.{name}", out)}
        print(f"code: {len(files)} files that {len(names)} stages can run")


if __name__ == "__main__":
    main()

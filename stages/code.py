"""Lists the files of code that each stage can run, with hashes; an edit reruns the stages whose list it changes."""

from pathlib import Path

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.stage import stage
from pipeline_lib.execution.stage_code import write_code


def main() -> None:
    with stage("stages.code"), fresh_folder(paths.CODE) as out:
        for script in sorted(Path("stages").glob("*.py")):
            if script.stem not in ("__init__", "code"):
                write_code(f"stages.{script.stem}", out)


if __name__ == "__main__":
    main()

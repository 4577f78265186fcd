"""The command lines of dvc.yaml for the params of a project, as DVC fills them in."""

import itertools
import re
from pathlib import Path

from ruamel.yaml import YAML

from pipeline_lib.params.section import load_params, pick


def stage_commands(dvc_yaml: Path, params_yaml: Path) -> list[str]:
    """Return the command line of each stage, one for each member of a matrix, in the order of the file."""
    stages = YAML(typ="safe").load(dvc_yaml.read_text(encoding="utf-8"))["stages"]
    params, found = load_params(params_yaml), []
    for stage in stages.values():
        matrix = stage.get("matrix", {})
        lists = [pick(params, re.fullmatch(r"\$\{(.*)\}", source)[1]) for source in matrix.values()]
        for values in itertools.product(*lists):
            item = dict(zip(matrix, values, strict=True))
            found.append(
                re.sub(r"\$\{item\.([\w.]+)\}", lambda name, item=item: str(pick(item, name[1])), stage["cmd"])
            )
    return found

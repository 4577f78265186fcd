"""`vitrine schema`: the JSON Schema of params.yaml, and what is generated from it.

The descriptions in pipeline_lib/params are the only source. From them come params.schema.json (editors complete and
check params.yaml with it), the comments in params.yaml, and docs/settings.md. A test compares all three.
"""

import json
from pathlib import Path

SCHEMA, PARAMS, SETTINGS = Path("params.schema.json"), Path("params.yaml"), Path("docs/settings.md")
DVC = Path("dvc.yaml")


def schema() -> None:
    """Write params.schema.json, the comments in params.yaml and docs/settings.md from the descriptions of settings."""
    changed = [path for path, text in generated(Path()).items() if _write(path, text)]
    print("\n".join(f"{path}: written" for path in changed) or f"{SCHEMA}, {PARAMS} and {SETTINGS} are up to date")


def generated(root: Path) -> dict[Path, str]:
    """Return the text of each generated file of a project, by its path."""
    from pipeline_lib.cli.params_comments import with_comments
    from pipeline_lib.cli.settings_page import settings_page
    from pipeline_lib.cli.settings_tree import json_schema
    from pipeline_lib.params.section import load_params

    settings = json_schema()
    return {
        root / SCHEMA: json.dumps(settings, indent=2, ensure_ascii=False) + "\n",
        root / PARAMS: with_comments((root / PARAMS).read_text(encoding="utf-8"), settings),
        root / SETTINGS: settings_page(settings, load_params(root / PARAMS), load_params(root / DVC)["stages"]),
    }


def _write(path: Path, text: str) -> bool:
    """Write a file unless it has this text; return whether it was written."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return True

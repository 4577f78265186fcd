"""The comments in params.yaml, written from the descriptions of the settings.

`dvc exp run -S` rewrites the file with ruamel.yaml, which loses or moves a comment after a list or a mapping that was
empty. So a setting that may be a list or mapping has its comment above only if it is the only one of its group.
Otherwise the group's comment describes them all. Such settings are the last of their group, and the comment of the next
group is inside that group.
"""

import re
import textwrap

from pipeline_lib.cli.settings_tree import Group, Schema, Setting, settings_tree

WIDTH = 120
KEY = re.compile(r"( *)([\w.-]+):( .*)?")
HEAD = """\
# yaml-language-server: $schema=params.schema.json
# Every setting of the pipeline; docs/settings.md shows them as tables. Change one with `dvc exp run -S train.epochs=8`.
# `vitrine schema` writes the comments from the descriptions in pipeline_lib/params. `-S` rewrites this file and would
# lose a comment beside or after a list or an empty mapping. So these are the last keys of their section.
"""


def with_comments(text: str, schema: Schema) -> str:
    """Return params.yaml with the values of `text` and a comment for each setting; other comments are removed."""
    tree = settings_tree(schema)
    groups = {group.path: group for group in tree.groups()}
    settings = {setting.key: setting for group in groups.values() for setting in _with_own_comment(group)}
    lines: list[str] = [HEAD.rstrip()]
    parents: list[tuple[int, str]] = []
    described: set[str] = set()  # in this section
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = KEY.fullmatch(line)
        if match is None:
            lines.append(line)
            continue
        indent = len(match[1])
        parents = [(column, name) for column, name in parents if column < indent]
        path = ".".join([*(name for _, name in parents), match[2]])
        parents.append((indent, match[2]))
        if indent == 0:
            lines.append("")
            described.clear()
        comment = []
        if path in settings and (match[2] + settings[path].description) not in described:
            described.add(match[2] + settings[path].description)
            comment = _wrapped(settings[path].description, match[1] + "# ")
        lines += _separated(lines, comment)
        lines.append(line)
        if path in groups and groups[path].description not in described:
            described.add(groups[path].description)
            lines += _group_comment(groups[path], match[1] + "  # ")
    return "\n".join(lines) + "\n"


def _with_own_comment(group: Group) -> list[Setting]:
    """Return the settings that have a comment above them."""
    several = sum(setting.is_container for setting in group.settings()) > 1
    return [setting for setting in group.settings() if not (several and setting.is_container)]


def _separated(lines: list[str], comment: list[str]) -> list[str]:
    """Return a setting's comment, after an empty line if the comment of its group precedes it."""
    return ["", *comment] if comment and lines[-1].lstrip().startswith("#") else comment


def _group_comment(group: Group, prefix: str) -> list[str]:
    """Return the lines of a group's comment."""
    own = {setting.key for setting in _with_own_comment(group)}
    lines = _wrapped(group.description, prefix)
    for setting in group.settings():
        if setting.key not in own:
            lines += _wrapped(f"{setting.key.rpartition('.')[2]}: {setting.description}", prefix + "  ", "  ")
    return lines


def _wrapped(text: str, prefix: str, hanging: str = "") -> list[str]:
    """Return the lines of a comment; `0 = off` and the like stay on one line."""
    lines = textwrap.wrap(
        text.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"), WIDTH, initial_indent=prefix,
        subsequent_indent=prefix + hanging, break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]

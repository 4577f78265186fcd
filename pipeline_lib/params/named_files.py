"""Finds what the files of a local model name themselves: an index its parts, a config or a card another model.

Libraries follow such names wherever they lead, so they are checked like those in params.yaml.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Vocabularies, whose keys and values are tokens, among them "/" and "..".
VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")
# Where a model came from; nothing is read there.
ORIGINS = ("_name_or_path", "name_or_path")
# Keys of configs that name another model, perhaps by a folder without a slash.
MODELS = ("hf_model_name", "hf_tokenizer_name", "base_model_name_or_path")
# The card of a trained model, and its part that names the weights from before training.
CARD, BASE = "model.json", "base"


def names_in_model(path: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield the file, the key and the value of each text that may be a path in a JSON file, or in those of a folder."""
    for file in sorted(path.rglob("*.json")) if path.is_dir() else [path] if path.suffix == ".json" else []:
        if file.name not in VOCABULARIES and file.is_file():
            yield from _names(file, "", _content(file))


def names_in_cards(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield the same of the bases that the cards of trained models in a folder name."""
    for file in sorted(folder.rglob(CARD)):
        card = _content(file)
        if isinstance(card, dict):
            yield from _names(file, BASE, card.get(BASE))


def image_sizes(folder: Path) -> Iterator[int]:
    """Yield the sizes in pixels at which the trained models in a folder read photos, by their cards."""
    for file in sorted(folder.rglob(CARD)):
        value: Any = _content(file)
        for key in ("description", "image", "size"):
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, int):
            yield value


def leaves(key: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield the dotted key and the value of everything in nested mappings and lists that is neither.

    >>> list(leaves("a", {"b": [1, {"c": "x"}]}))
    [('a.b.0', 1), ('a.b.1.c', 'x')]
    """
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        yield key, value
    else:
        for name, inner in parts:
            yield from leaves(f"{key}.{name}" if key else str(name), inner)


def _names(file: Path, start: str, content: object) -> Iterator[tuple[Path, str, str]]:
    for key, value in leaves(start, content):
        last = key.rpartition(".")[2]
        if not isinstance(value, str) or not value or last in ORIGINS:
            continue
        if last in MODELS or "/" in value or "\\" in value or Path(value).suffix:
            yield file, key, value


def _content(file: Path) -> Any:
    """Return the value of a JSON file; None for one that is damaged, which no library follows either."""
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None

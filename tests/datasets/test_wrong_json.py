"""Every reader of JSON: a value of another type anywhere is one line, never an error of Python or polars."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from written_composed import write_circo, write_cirr, write_fashion_iq

from pipeline_lib.datasets.readers import read_records
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.section import load_params, parse_section

PARAMS = Path(__file__).parents[2] / "params.yaml"
HALF = json.loads(r'"\ud800"')
WRONG = [None, True, 3, 2**70, 1.5, "", "x" * 5000, "a\0b", HALF, [], [None], [HALF], [[3]], {}, {"a": []}]
KARPATHY = {
    "images": [
        {"filename": "a.jpg", "filepath": "val", "split": "train", "sentences": [{"raw": "a dog", "tokens": ["a"]}]},
        {"filename": "b.jpg", "split": "test", "sentences": [{"raw": "b"}]},
    ]
}
MSR_VTT = {
    "videos": [{"video_id": "v0", "split": "train"}, {"video_id": "v1", "split": "test"}],
    "sentences": [{"video_id": "v0", "caption": "a", "sen_id": 0}, {"video_id": "v1", "caption": "b", "sen_id": 1}],
}


def nothing(_: Path) -> None:
    """Write no other file."""


FORMS: dict[str, tuple[Callable[[Path], None], str, Any]] = {
    "karpathy": (nothing, "dataset.json", KARPATHY),
    "msr_vtt": (nothing, "MSRVTT_data.json", MSR_VTT),
    "cirr": (write_cirr, "captions/cap.rc2.train.json", None),
    "circo": (write_circo, "annotations/val.json", None),
    "fashion_iq": (write_fashion_iq, "image_splits/split.dress.val.json", None),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where each value is, of a list in its first item alone."""
    yield path
    for key in value if isinstance(value, dict) else range(min(len(value), 1)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    result = copy.copy(value)
    result[path[0]] = replaced(value[path[0]], path[1:], new)
    return result


@pytest.mark.parametrize("kind", FORMS)
def test_a_value_of_another_type_is_read_or_is_one_line(kind: str, tmp_path: Path) -> None:
    write, name, content = FORMS[kind]
    write(tmp_path)
    file = tmp_path / name
    content = content or json.loads(file.read_text(encoding="utf-8"))
    params = load_params(PARAMS)
    params["data"] |= {"root": str(tmp_path), "reader": kind}
    data = parse_section(DataParams, params)
    texts = [json.dumps(replaced(content, path, wrong)) for path in places(content) for wrong in WRONG]
    texts += ["", "\0" * 50, "[" * 20_000, '{"a":' * 20_000, "9" * 5000, json.dumps(content)[:30], "nul", '"x']
    num_refused = 0
    for text in texts:
        file.write_text(text, encoding="utf-8")
        try:
            read_records(data)
        except ValueError as error:
            num_refused += 1
            assert type(error) is ValueError, f"{text[:200]}: {error!r}"
            assert "\n" not in str(error) and len(str(error)) < 1000
            assert str(tmp_path) in str(error)
    assert len(texts) > num_refused > 8

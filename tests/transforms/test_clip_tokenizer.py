import json

import numpy as np
import pytest

from pipeline_lib.transforms.tokenize import CLIP_MARK, TextTokenizer

TEXTS = [
    "A photo of a red, striped mug!",
    "红色 条纹 马克杯，蓝色花瓶",
    "☕️ mug 👩‍🚀 naïve café №5",
    "&lt;b&gt; it's   SO\tspaced &amp; broken â€œquotesâ€",
    "",
    "a much longer text about a blue striped vase " * 20,
]


@pytest.mark.parametrize("length", [3, 20, 77])
def test_ids_equal_those_of_open_clip(length):
    import open_clip

    ids, mask = TextTokenizer("open_clip").encode_batch(TEXTS, length)
    expected = open_clip.get_tokenizer("ViT-B-32")(TEXTS, context_length=length).numpy()
    assert np.array_equal(ids, expected[:, : ids.shape[1]])
    assert not expected[:, ids.shape[1] :].any()
    assert np.array_equal(mask, ids != 0)
    assert (ids[np.arange(len(TEXTS)), mask.sum(1) - 1] == 49407).all()


def test_a_saved_copy_is_a_file_that_names_it(tmp_path):
    tokenizer = TextTokenizer("open_clip")
    tokenizer.save(tmp_path / "saved")
    assert [path.name for path in (tmp_path / "saved").iterdir()] == [CLIP_MARK]
    assert json.loads((tmp_path / "saved" / CLIP_MARK).read_text()) == {"tokenizer": "open_clip", "vocab_size": 49408}
    loaded = TextTokenizer(tmp_path / "saved")
    assert all(map(np.array_equal, tokenizer.encode_batch(TEXTS, 20), loaded.encode_batch(TEXTS, 20)))
    assert (loaded.vocab_size, loaded.pad_id) == (49408, 0)


def test_no_room_for_text_is_refused():
    with pytest.raises(ValueError, match="max_tokens = 2 leaves no room .* 2 special tokens; set 3 or more"):
        TextTokenizer("open_clip").encode_batch(["mug"], 2)


def test_the_file_of_merges_is_read_once(monkeypatch):
    first = TextTokenizer("open_clip")
    monkeypatch.setattr("open_clip.tokenizer.gzip.open", lambda path: pytest.fail(f"{path} is read again"))
    assert all(map(np.array_equal, first.encode_batch(TEXTS, 20), TextTokenizer("open_clip").encode_batch(TEXTS, 20)))

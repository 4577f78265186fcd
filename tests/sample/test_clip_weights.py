"""The towers for the sample's clips: captions match their labels, and the text tower learns their order."""

import pytest
import torch
from shop import clip_weights, towers
from shop.clip_weights import LABELS, draw_captions, make_clip_weights
from shop.clip_words import ACTIONS, phrases
from shop.goods import GOODS
from shop.other_goods import OTHER_GOODS
from shop.towers import add_words, build_text_tower, build_tokenizer, load_text_tower, save_text_tower
from shop.weights import vocabulary
from shop.words import COLOURS
from tokenizers import Tokenizer
from transformers import AutoModel

PARAMS = {"seed": 1, "captions": 64, "epochs": 1, "batch_size": 16}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder as of the stage `weights`: an untrained text tower of two layers, and a file for the image tower."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(towers, "TEXT_LAYERS", 2)
    torch.manual_seed(0)
    tokenizer = build_tokenizer(vocabulary())
    save_text_tower(build_text_tower(tokenizer.get_vocab_size()), tokenizer, tmp_path / "weights/text")
    (tmp_path / "weights/image").mkdir()
    (tmp_path / "weights/image/config.json").write_text("{}")
    return tmp_path


def test_new_words_leave_the_encoding_of_other_texts_as_it_was(project):
    tower, plain = load_text_tower(project / "weights/text")
    extended, known = add_words(tower, plain, phrases(), 1)
    assert any("[UNK]" in plain.encode(phrase).tokens for phrase in phrases())
    assert not any("[UNK]" in known.encode(phrase).tokens for phrase in phrases())
    assert known.encode("mug moves from left to right").tokens[2:-1] == ["moves", "from", "left", "to", "right"]
    for text in ("Red striped mug", "条纹红色马克杯"):
        ids = [torch.tensor([tokenizer.encode(text).ids]) for tokenizer in (plain, known)]
        assert torch.equal(*ids)
        outputs = [one.eval()(rows).last_hidden_state for one, rows in zip((tower, extended), ids, strict=True)]
        assert torch.equal(*outputs)


def test_captions_are_of_other_objects_and_match_their_labels():
    texts, labels = draw_captions(400, 3)
    assert (texts, {name: numbers.tolist() for name, numbers in labels.items()}) == (
        (again := draw_captions(400, 3))[0], {name: numbers.tolist() for name, numbers in again[1].items()}
    )  # fmt: skip
    assert tuple(labels) == LABELS and set(labels["action"].tolist()) == set(range(2 * len(ACTIONS) + 1))
    colours, kinds = list(COLOURS.values()), list(OTHER_GOODS.values())
    for row, text in enumerate(texts):
        language = "en" if text.isascii() else "zh"
        words = getattr(kinds[labels["kind"][row]].names, language)
        assert any(word in text for word in words)
        first, last, number = (int(labels[name][row]) for name in ("first", "last", "action"))
        # The actions by number: 0 nothing, then each forward and backwards; colour is the first.
        assert (first != last) == (number in (1, 2))
        if number in (1, 2) and language == "en" and " from " in text:
            assert any(f"from {word} to" in text for word in colours[first].en)
    assert not set(GOODS) & set(OTHER_GOODS)


def test_the_text_tower_learns_which_colour_comes_first(project, monkeypatch):
    """With the words of captions as they are, and only those about colours, a few epochs are enough."""
    texts, labels = draw_captions(3000, 3)
    coloured = [row for row in range(len(texts)) if labels["action"][row] in (1, 2)]
    chosen = [texts[row] for row in coloured], {"first": labels["first"][coloured]}
    monkeypatch.setattr(clip_weights, "draw_captions", lambda count, seed: chosen)
    out = project / "out"
    accuracy = make_clip_weights(out, PARAMS | {"epochs": 4, "batch_size": 16})
    assert accuracy > 0.9
    assert (out / "image/config.json").is_file()
    tower, info = AutoModel.from_pretrained(out / "text", add_pooling_layer=False, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    tokenizer = Tokenizer.from_file(str(out / "text/tokenizer.json"))
    assert tokenizer.truncation is None

    def encoded(text):
        return tower.eval()(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0].mean(dim=0)

    with torch.no_grad():
        one, other = (
            encoded("the striped plate turns from red to blue"),
            encoded("the striped plate turns from blue to red"),
        )
        same = encoded("the striped plate changes from red to blue")
    assert (one - other).norm() > 2 * (one - same).norm()

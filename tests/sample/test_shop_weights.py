"""The pretrained towers of the built-in sample: loadable by the usual libraries, and seeded."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file
from shop import pretrain
from shop.goods import GOODS
from shop.other_goods import OTHER_GOODS
from shop.pairs import draw_pair, draw_pairs
from shop.pretrain import pretrain_image, pretrain_text
from shop.towers import build_tokenizer
from shop.weights import make_weights, vocabulary
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

PARAMS = {"seed": 1, "objects": 24, "image_epochs": 1, "text_epochs": 1, "batch_size": 12, "image_size": 32}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    out = tmp_path_factory.mktemp("weights")
    make_weights(out, PARAMS)
    return out


def test_the_image_tower_loads_strictly_in_timm(weights):
    config = json.loads((weights / "image/config.json").read_text(encoding="utf-8"))
    assert set(config) == {"architecture", "model_args", "mean", "std", "image_size", "source"}
    tower = timm.create_model(config["architecture"], pretrained=False, num_classes=0, **config["model_args"])
    tower.load_state_dict(load_file(weights / "image/model.safetensors"), strict=True)
    assert tower.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 128)
    groups = timm.models.group_parameters(tower, tower.group_matcher(coarse=False))
    assert len(groups) >= 10


def test_the_text_tower_loads_in_transformers_with_nothing_missing(weights):
    tower, info = AutoModel.from_pretrained(weights / "text", add_pooling_layer=False, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert len(tower.encoder.layer) == 8
    assert tower.config.hidden_size == 96


def test_both_tokenizer_libraries_read_the_folder_in_the_same_way(weights):
    fast = Tokenizer.from_file(str(weights / "text/tokenizer.json"))
    auto = AutoTokenizer.from_pretrained(weights / "text")
    for text in ("Red striped mug", "条纹红色马克杯", "NAVY 圆点 tote", "anything else ♞"):
        assert auto(text)["input_ids"] == fast.encode(text).ids
    assert auto.pad_token_id == fast.token_to_id("[PAD]") == 0
    assert auto(["red", "red mug with dots"], padding=True)["attention_mask"][0][-1] == 0


def test_no_word_of_the_shop_is_unknown_and_chinese_is_split_into_characters(weights):
    tokenizer = Tokenizer.from_file(str(weights / "text/tokenizer.json"))
    assert all("[UNK]" not in tokenizer.encode(word).tokens for word in vocabulary())
    assert tokenizer.encode("花瓶").tokens == ["[CLS]", "花", "瓶", "[SEP]"]
    assert tokenizer.encode("Mug").tokens == ["[CLS]", "mug", "[SEP]"]


def test_the_same_seed_gives_the_same_weights_from_any_number_of_processes(weights, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    accuracy = make_weights(tmp_path, PARAMS, num_jobs=2)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    assert set(accuracy) == {"image", "text"} and all(0 <= value <= 1 for value in accuracy.values())
    for name in ("image/model.safetensors", "image/config.json", "text/tokenizer.json", "text/config.json"):
        assert (tmp_path / name).read_bytes() == (weights / name).read_bytes()
    assert (tmp_path / "text/model.safetensors").read_bytes() == (weights / "text/model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["image", "text"])
def test_pretraining_changes_every_tensor_of_a_tower(name):
    pairs = draw_pairs(16, 0, 32)

    def tower(epochs):
        params = {"batch_size": 8, "image_epochs": epochs, "text_epochs": epochs}
        if name == "image":
            return pretrain_image(pairs, params, seed=1)[0]
        return pretrain_text(pairs, build_tokenizer(vocabulary()), params, seed=1)[0]

    before, after = tower(0), tower(1)
    pairs_of_tensors = zip(before.named_parameters(), after.parameters(), strict=True)
    assert [key for (key, old), new in pairs_of_tensors if torch.equal(old, new)] == []


def test_the_numbers_of_a_property_match_the_objects():
    pairs = draw_pairs(40, 0, 32)
    kinds = sorted({draw_pair(kind, (0, 0), 32)[2].kind for kind in OTHER_GOODS})
    order = list(OTHER_GOODS)
    assert [kinds[number] for number in pairs.properties["kind"].tolist()] == [order[i % len(order)] for i in range(40)]
    assert all(len(values) == 40 for values in pairs.properties.values())


def test_a_pair_is_a_picture_and_a_text_of_the_object():
    pixels, text, _, mentioned = draw_pair("kite", (0, 0), 32)
    assert pixels.shape == (32, 32, 3)
    assert any(word in text.lower() for word in (*OTHER_GOODS["kite"].names.en, *OTHER_GOODS["kite"].names.zh))
    assert any(word in text for word in (*GOODS[mentioned].names.en, *GOODS[mentioned].names.zh))


def test_the_mentioned_category_is_never_the_one_in_the_picture():
    """Texts contain the words of the shop before fine-tuning; no picture shows its categories."""
    pairs = draw_pairs(60, 0, 32)
    assert len(set(pairs.mentioned.tolist())) > 10
    assert not set(GOODS) & set(OTHER_GOODS)


def test_pretraining_says_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(pretrain, "PRINT_SECONDS", 0.0)
    pairs = draw_pairs(PARAMS["objects"], PARAMS["seed"], PARAMS["image_size"], 1)
    pretrain_text(pairs, build_tokenizer(vocabulary()), PARAMS | {"text_epochs": 2}, 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"text tower: {done} of 4 batches" for done in (1, 2, 3, 4)]
    assert lines[-1].endswith(", 0 s left")

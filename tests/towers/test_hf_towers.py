"""Text towers in the hub's formats, built here: GPT-2, RoBERTa, bare model types, and weights in a separate file."""

import pytest
import torch
from model_settings import make_model_params
from safetensors.torch import load_file, save_file
from transformers import AutoModel, GPT2Config, GPT2LMHeadModel, RobertaConfig, RobertaModel

from pipeline_lib.towers import hf_text_tower
from pipeline_lib.towers.hf_text_tower import LAYER_PATTERNS, HFTextTower, resolve_hf
from pipeline_lib.towers.weights import load_strictly
from pipeline_lib.transforms.tokenize import TextTokenizer

SMALL_GPT2 = {"n_layer": 3, "n_embd": 16, "n_head": 2, "n_positions": 32, "vocab_size": 40}
SPECIAL = {"bos_token_id": None, "eos_token_id": 0}


def resolved(name, fusion="late", **text):
    return resolve_hf(make_model_params(text={"name": str(name), **text}, fusion=fusion))


def filled(source):
    tower = HFTextTower(source.description)
    load_strictly(tower, source.state, str(source.weights), source.new)
    return tower.eval()


@pytest.fixture
def gpt2_folder(tmp_path, tiny_text_folder):
    """As published: a language model with weights under `transformer.`, and a tokenizer."""
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(**SMALL_GPT2, **SPECIAL)).save_pretrained(tmp_path / "gpt2")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "gpt2" / name).write_bytes((tiny_text_folder / name).read_bytes())
    return tmp_path / "gpt2"


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "gem", "attentive"])
def test_padding_has_no_effect_on_gpt2(gpt2_folder, pooling):
    """A text alone, and the same text in a batch with a longer one, have the same features."""
    tower = filled(resolved(gpt2_folder, pooling=pooling))
    alone = torch.tensor([[5, 6, 7]])
    batch = torch.tensor([[5, 6, 7, 0, 0], [8, 9, 5, 6, 7]])
    mask = torch.tensor([[True, True, True, False, False], [True] * 5])
    with torch.no_grad():
        short = tower.encode(alone, torch.ones(1, 3, dtype=torch.bool))
        assert torch.allclose(tower.encode(batch, mask)[:1], short, atol=1e-6)


def test_gpt2_equals_transformers_at_the_last_real_token(gpt2_folder):
    theirs = AutoModel.from_pretrained(gpt2_folder).eval()
    tower = filled(resolved(gpt2_folder, pooling="last"))
    ids = torch.tensor([[5, 6, 7, 0], [9, 8, 7, 6]])
    mask = torch.tensor([[True, True, True, False], [True] * 4])
    with torch.no_grad():
        hidden = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        found = tower.encode(ids, mask)
    assert torch.allclose(found, torch.stack([hidden[0, 2], hidden[1, 3]]), atol=1e-6)
    assert [group.name for group in tower.layer_groups()] == ["embeddings", "layer.0", "layer.1", "layer.2"]
    assert "trunk.ln_f.weight" in tower.layer_groups()[-1].parameters


def test_weights_may_be_in_a_separate_file(gpt2_folder, tmp_path):
    own = resolved(gpt2_folder)
    changed = {name: value + 1 for name, value in load_file(gpt2_folder / "model.safetensors").items()}
    save_file(changed, tmp_path / "other.safetensors", metadata={"format": "pt"})
    for name, config in ((gpt2_folder, {}), ("gpt2", SMALL_GPT2)):
        other = resolved(name, weights=str(tmp_path / "other.safetensors"), config=config)
        assert other.weights.endswith("other.safetensors")
        for key, value in own.state.items():
            assert torch.equal(other.state[key], value + 1), key
        filled(other)


def test_a_file_that_lacks_weights_is_refused(gpt2_folder, tmp_path):
    state = load_file(gpt2_folder / "model.safetensors")
    incomplete = {name: value for name, value in state.items() if ".h.1." not in name}
    save_file(incomplete, tmp_path / "incomplete.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"incomplete\.safetensors: its weights lack 12 parameters, e\.g\. h\.1\.attn"):
        resolved(gpt2_folder, weights=str(tmp_path / "incomplete.safetensors"))
    with pytest.raises(ValueError, match=r"cannot load the weights"):
        resolved("gpt2", weights=str(gpt2_folder / "model.safetensors"), config={**SMALL_GPT2, "vocab_size": 41})


def test_a_bare_type_has_the_vocabulary_of_its_tokenizer(tiny_text_folder):
    small = {key: value for key, value in SMALL_GPT2.items() if key != "vocab_size"}
    source = resolved("gpt2", pretrained=False, tokenizer=str(tiny_text_folder), config=small)
    size = TextTokenizer(tiny_text_folder).vocab_size
    assert source.description["config"]["vocab_size"] == size == 16
    assert source.description["tokenizer"] == str(tiny_text_folder)
    assert HFTextTower(source.description).trunk.wte.weight.shape == (size, 16)
    assert source.state is None


def test_fewer_layers_of_a_pretrained_tower(gpt2_folder):
    tower = filled(resolved(gpt2_folder, config={"n_layer": 2}))
    state = load_file(gpt2_folder / "model.safetensors")
    assert torch.equal(tower.trunk.h[1].ln_1.weight, state["transformer.h.1.ln_1.weight"])
    assert len(tower.layer_groups()) == 3


def test_roberta_has_fewer_positions_than_its_config(tmp_path):
    config = RobertaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=18,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(tmp_path)
    tower = filled(resolved(tmp_path, max_tokens=16))
    with torch.no_grad():
        tower.encode(torch.full((1, 16), 5), torch.ones(1, 16, dtype=torch.bool))
    with pytest.raises(ValueError, match="max_tokens = 17: .* has 16 positions"):
        resolved(tmp_path, max_tokens=17)


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 40}
DISTIL = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": 40}


@pytest.mark.parametrize("kind", LAYER_PATTERNS)
def test_every_family_has_groups_and_pools(kind):
    config = {"gpt2": {**SMALL_GPT2, "n_layer": 2}, "distilbert": DISTIL}.get(kind, SMALL)
    tower = HFTextTower(resolved(kind, pretrained=False, config=config).description).eval()
    assert [group.name for group in tower.layer_groups()] == ["embeddings", "layer.0", "layer.1"]
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert tower.encode(ids, torch.ones_like(ids, dtype=torch.bool)).shape == (1, 16)


@pytest.mark.parametrize("config", [{}, {"is_decoder": True}])
def test_the_first_token_of_a_causal_tower_is_refused(config):
    name = "bert" if config else "gpt2"
    changes = {"config": {**SMALL, **config}} if config else {"config": SMALL_GPT2}
    with pytest.raises(ValueError, match=r"pooling = 'cls': the first token .* set model.text.pooling = last") as error:
        resolved(name, pretrained=False, pooling="cls", **changes)
    assert "\n" not in str(error.value)
    resolved(name, pretrained=False, pooling="cls", fusion="early", **changes)  # pooled after a layer that sees all
    resolved("bert", pretrained=False, pooling="cls", config=SMALL)


def test_a_checkpoint_in_bf16_is_trained_in_fp32(tmp_path):
    config = RobertaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=18,
    )  # fmt: skip
    RobertaModel(config).to(torch.bfloat16).save_pretrained(tmp_path)
    source = resolved(tmp_path, max_tokens=16)
    tower = filled(source)
    assert {value.dtype for value in (*source.state.values(), *tower.parameters())} == {torch.float32}


@pytest.mark.parametrize("kind", ["camembert", "mobilebert", "fnet", "xlm-roberta-xl"])
def test_other_types_are_refused_by_their_name(kind):
    with pytest.raises(ValueError, match=f"model type '{kind}' is not supported; supported: bert, distilbert"):
        resolved(kind, pretrained=False)


def test_tokens_are_the_last_layer(gpt2_folder):
    tower = filled(resolved(gpt2_folder, fusion="early"))
    ids, mask = torch.tensor([[5, 6, 7]]), torch.ones(1, 3, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(tower.tokens(ids, mask), tower.trunk(input_ids=ids).last_hidden_state)
    assert tower.pool is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"config": {"n_layrs": 2}}, r"model\.text\.config\.n_layrs: a gpt2 config has no such setting"),
        ({"weights": "gone.safetensors"}, r"weights = 'gone\.safetensors': no such \.safetensors file"),
        ({"weights": "a.safetensors", "pretrained": False}, r"but model\.text\.pretrained is false"),
    ],
)
def test_bad_text_params_are_one_line(gpt2_folder, text, message):
    with pytest.raises(ValueError, match=message) as error:
        resolved(gpt2_folder, **text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_the_full_attention_mask_equals_transformers(kind, tmp_path, tiny_text_folder, gpt2_folder, monkeypatch):
    """A GPU gets it instead of a padding mask: features and gradients are equal."""
    results = {}
    for full in (False, True):
        monkeypatch.setattr(hf_text_tower, "is_asynchronous", lambda device, full=full: full)
        params = make_model_params(text={"name": str(tiny_text_folder if kind == "bert" else gpt2_folder)})
        source = hf_text_tower.resolve_hf(params)
        tower = hf_text_tower.HFTextTower(source.description).eval()
        load_strictly(tower, source.state, "tests")
        ids = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0], [2, 3, 0, 0, 0]])
        features = tower(ids, torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]).bool())
        features.square().sum().backward()
        results[full] = [features.detach(), *(value.grad for value in tower.parameters() if value.grad is not None)]
    assert len(results[True]) == len(results[False]) > 5
    for one, other in zip(results[True], results[False], strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)

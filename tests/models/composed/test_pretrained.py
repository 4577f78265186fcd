"""Published Q-Formers load bit-equal: files in the names of LAVIS and SPRC, and BLIP-2 folders of transformers."""

import json
import shutil

import pytest
import torch
from composed_settings import composed_inputs, composed_params
from damages import GROSS, refused_damages
from safetensors.torch import save_file

from pipeline_lib.losses.composed_pairs import similarity
from pipeline_lib.models.composed.build import build_composed, resolve_composed
from pipeline_lib.models.composed.inputs import ComposedInputs, StoredWidths
from pipeline_lib.models.composed.pretrained import UNUSED, read_q_former

WIDTH, IMAGE, QUERIES, DIM, VOCABULARY = 128, 20, 3, 16, 18
WIDTHS = StoredWidths(image=12, text=10, tokens=IMAGE)


def attention(prefix, source, kind="self"):
    return {
        **linear(f"{prefix}.{kind}.query", WIDTH, WIDTH),
        **linear(f"{prefix}.{kind}.key", WIDTH, source),
        **linear(f"{prefix}.{kind}.value", WIDTH, source),
        **linear(f"{prefix}.output.dense", WIDTH, WIDTH),
        **linear(f"{prefix}.output.LayerNorm", WIDTH),
    }


def linear(name, *shape):
    return {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(shape[0])}


@pytest.fixture(scope="module")
def lavis():
    """A Q-Former of three layers in the names of LAVIS' blip2_qformer, with prompt tokens as SPRC adds them."""
    torch.manual_seed(0)
    bert, state = "Qformer.bert", {}
    state[f"{bert}.embeddings.word_embeddings.weight"] = torch.randn(VOCABULARY, WIDTH)
    state[f"{bert}.embeddings.position_embeddings.weight"] = torch.randn(24, WIDTH)
    state[f"{bert}.embeddings.position_ids"] = torch.arange(24)[None]
    state |= linear(f"{bert}.embeddings.LayerNorm", WIDTH)
    for number in range(3):
        layer = f"{bert}.encoder.layer.{number}"
        state |= attention(f"{layer}.attention", WIDTH)
        if number % 2 == 0:
            state |= attention(f"{layer}.crossattention", IMAGE)
        for part in ("", "_query"):
            state |= linear(f"{layer}.intermediate{part}.dense", 4 * WIDTH, WIDTH)
            state |= linear(f"{layer}.output{part}.dense", WIDTH, 4 * WIDTH)
            state |= linear(f"{layer}.output{part}.LayerNorm", WIDTH)
    state |= linear("vision_proj", DIM, WIDTH) | linear("text_proj", DIM, WIDTH) | linear("itm_head", 2, WIDTH)
    state |= linear("Qformer.cls.predictions.transform.dense", WIDTH, WIDTH) | linear("ln_vision", IMAGE)
    state["visual_encoder.cls_token"] = torch.randn(1, 1, IMAGE)
    state["query_tokens"], state["prompt_tokens"] = torch.randn(2, 1, QUERIES, WIDTH)
    state["temp"] = torch.tensor(0.05)
    return {name: value.clone() for name, value in state.items()}


def load(weights, tokenizer, widths=WIDTHS, **changes):
    params = composed_params(q_former={"weights": str(weights), **changes}, embedding_dim=DIM)
    source = resolve_composed("q_former", params, widths, str(tokenizer))
    return build_composed(source.description, source)


# A name of LAVIS -> the same tensor in the model, one of each rename.
RENAMED = {
    "Qformer.bert.embeddings.word_embeddings.weight": "passes.embeddings.word_embeddings.weight",
    "Qformer.bert.embeddings.position_embeddings.weight": "passes.embeddings.position_embeddings.weight",
    "Qformer.bert.embeddings.LayerNorm.bias": "passes.qformer.layernorm.bias",
    "Qformer.bert.encoder.layer.1.attention.self.key.weight": (
        "passes.qformer.encoder.layer.1.attention.attention.key.weight"
    ),
    "Qformer.bert.encoder.layer.2.crossattention.self.value.bias": (
        "passes.qformer.encoder.layer.2.crossattention.attention.value.bias"
    ),
    "Qformer.bert.encoder.layer.0.crossattention.output.LayerNorm.weight": (
        "passes.qformer.encoder.layer.0.crossattention.output.LayerNorm.weight"
    ),
    "Qformer.bert.encoder.layer.2.intermediate.dense.bias": "passes.qformer.encoder.layer.2.intermediate.dense.bias",
    "Qformer.bert.encoder.layer.2.output_query.dense.bias": "passes.qformer.encoder.layer.2.output_query.dense.bias",
    "query_tokens": "query_tokens",
    "prompt_tokens": "prompt_tokens",
    "vision_proj.weight": "vision_projection.weight",
    "text_proj.bias": "text_projection.bias",
}


def as_safetensors(state, folder):
    save_file(state, folder / "lavis.safetensors")
    return folder / "lavis.safetensors"


def as_lavis(state, folder):
    torch.save({"model": state}, folder / "lavis.pth")
    return folder / "lavis.pth"


def as_sprc(state, folder):
    of_ddp = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 3, "Blip2QformerCirAlignPrompt": of_ddp}, folder / "sprc.pt")
    return folder / "sprc.pt"


@pytest.mark.parametrize("write", [as_safetensors, as_lavis, as_sprc])
def test_a_file_in_the_names_of_lavis_loads_bit_equal(lavis, tmp_path, tiny_text_folder, write):
    model = load(write(lavis, tmp_path), tiny_text_folder)
    own = model.state_dict()
    for theirs, ours in RENAMED.items():
        assert torch.equal(own[ours], lavis[theirs]), theirs
    unused = ("visual_encoder", "ln_vision", "itm_head", "Qformer.cls", "temp", "Qformer.bert.embeddings.position_ids")
    expected = sorted(float(value.double().sum()) for name, value in lavis.items() if not name.startswith(unused))
    assert sorted(float(value.double().sum()) for name, value in own.items() if name != "log_scale") == expected
    assert model.logit_scale.item() == pytest.approx(1 / 0.05)
    assert not [name for name in own if name.startswith("token_projection.")], "the tokens have the file's width"


def test_the_config_follows_from_the_shapes(lavis, tmp_path):
    found = read_q_former(str(as_safetensors(lavis, tmp_path)))
    assert found.config == {
        "vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2,
        "intermediate_size": 4 * WIDTH, "max_position_embeddings": 24, "cross_attention_frequency": 2,
        "encoder_hidden_size": IMAGE,
    }  # fmt: skip
    assert (found.queries, found.dim) == (QUERIES, DIM)


def test_tokens_of_another_width_pass_a_projection(lavis, tmp_path, tiny_text_folder):
    file = as_safetensors(lavis, tmp_path)
    wider = StoredWidths(image=12, text=10, tokens=33)
    model = load(file, tiny_text_folder, widths=wider)
    assert torch.equal(model.query_tokens, lavis["query_tokens"])
    assert model.compose(composed_inputs(2, widths=wider)).query.shape == (2, DIM)


@pytest.fixture(scope="module")
def blip2(tmp_path_factory, tiny_text_folder):
    """A BLIP-2 model for retrieval as transformers saves it, in two files, and the model itself."""
    from transformers import Blip2Config, Blip2ForImageTextRetrieval, OPTConfig

    torch.manual_seed(0)
    vision = {"hidden_size": IMAGE, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    qformer = {
        "vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 24, "use_qformer_text_input": True,
        "initializer_range": 0.2,
    }  # fmt: skip
    text = OPTConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, ffn_dim=8)
    config = Blip2Config(
        vision_config={**vision, "image_size": 14, "patch_size": 7},
        qformer_config=qformer,
        text_config=text.to_dict(),
        num_query_tokens=QUERIES,
        image_text_hidden_size=DIM,
    )
    model = Blip2ForImageTextRetrieval(config).eval()
    torch.nn.init.normal_(model.query_tokens)
    folder = tmp_path_factory.mktemp("blip2")
    model.save_pretrained(folder, max_shard_size="300KB")
    assert (folder / "model.safetensors.index.json").is_file()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_text_folder / name, folder)
    return folder, model


@torch.no_grad()
def test_a_blip_2_folder_loads_bit_equal_and_gives_the_same_similarities(blip2, tiny_text_folder):
    folder, published = blip2
    model = load(folder, tiny_text_folder).eval()
    assert model.description["q_former"]["tokenizer"] == str(folder)
    for ours, theirs in (("passes.qformer", "qformer"), ("passes.embeddings", "embeddings")):
        own, other = model.get_submodule(ours).state_dict(), published.get_submodule(theirs).state_dict()
        assert own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)
    pixels, inputs = torch.randn(3, 3, 14, 14), composed_inputs(3)
    answer = published(pixels, inputs.token_ids, inputs.token_mask.long())
    targets = model.encode_targets(ComposedInputs(tokens=published.vision_model(pixels)[0]))
    text = model.passes.text_pass(inputs.token_ids, inputs.token_mask)[:, 0]
    query = torch.nn.functional.normalize(model.text_projection(text), dim=-1)
    torch.testing.assert_close(similarity(query, targets), answer.logits_per_text)


def test_the_first_pass_equals_the_matching_pass_of_transformers(blip2, tiny_text_folder):
    folder, published = blip2
    model = load(folder, tiny_text_folder).eval()
    pixels, inputs = torch.randn(3, 3, 14, 14), composed_inputs(3)
    with torch.no_grad():
        image = published.vision_model(pixels)[0]
        ours = model.passes.composed_pass(
            model.query_tokens.expand(3, -1, -1), image, inputs.token_ids, inputs.token_mask
        )
        theirs = published(pixels, inputs.token_ids, inputs.token_mask.long(), use_image_text_matching_head=True)
        torch.testing.assert_close(published.itm_head(ours).mean(dim=1), theirs.logits_per_image)


def test_a_token_that_was_added_later_gets_a_row(lavis, tmp_path, tiny_text_folder):
    cut = {**lavis, "Qformer.bert.embeddings.word_embeddings.weight": torch.randn(15, WIDTH)}
    model = load(as_safetensors(cut, tmp_path), tiny_text_folder)  # the tokenizer has 16
    words = model.passes.embeddings.word_embeddings.weight
    assert torch.equal(words[:15], cut["Qformer.bert.embeddings.word_embeddings.weight"]) and not words[15].any()


def without(*prefixes):
    return lambda state: {name: value for name, value in state.items() if not name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            without("Qformer.bert.embeddings.word"),
            "no passes.embeddings.word_embeddings.weight here; it must be",
        ),
        (without("Qformer.bert.encoder.layer.1.output.dense"), "2 missing, e.g. passes.qformer.encoder.layer.1.output"),
        (lambda state: {**state, "t5_proj.weight": torch.zeros(2)}, "1 unknown, e.g. t5_proj.weight"),
        (
            lambda state: {**state, "Qformer.bert.embeddings.word_embeddings.weight": torch.zeros(4, WIDTH)},
            "has 16 tokens, the weights have 4; set composed.q_former.tokenizer",
        ),
        (
            lambda state: {**state, "Qformer.bert.embeddings.position_embeddings.weight": torch.zeros(9, WIDTH)},
            "max_tokens = 8: with 3 prompt tokens that is more than the 9 positions",
        ),
        (lambda state: {**state, **linear("vision_proj", 4, WIDTH)}, "composed.embedding_dim = 16, but .* has 4 dim"),
    ],
)
def test_a_file_that_does_not_fit_says_why(lavis, tmp_path, tiny_text_folder, change, text):
    with pytest.raises(ValueError, match=text) as error:
        load(as_safetensors(change(lavis), tmp_path), tiny_text_folder)
    assert "\n" not in str(error.value)


def test_files_that_are_none_say_so(tmp_path, tiny_text_folder):
    (tmp_path / "broken.pth").write_bytes(b"no tensors")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, text in (
        ("gone.pth", "no such file"),
        ("broken.pth", "no file of tensors"),
        ("list.pth", "holds a list"),
    ):
        with pytest.raises(ValueError, match=rf"composed.q_former.weights = .*{name}.*{text}"):
            load(tmp_path / name, tiny_text_folder)
    with pytest.raises(ValueError, match="no BLIP-2 model here nor on the hub"):
        load(tmp_path, tiny_text_folder)


def test_frozen_weights_stay_and_run_without_dropout(lavis, tmp_path, tiny_text_folder):
    model = load(as_safetensors(lavis, tmp_path), tiny_text_folder, frozen=True).train()
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained and not [name for name in trained if name.startswith("passes.")]
    inputs = composed_inputs(3)
    assert torch.equal(model.compose(inputs).query, model.compose(inputs).query)
    assert not torch.equal(
        *(load(as_safetensors(lavis, tmp_path), tiny_text_folder).train().compose(inputs).query for _ in range(2))
    )


def test_damaged_files_of_a_blip_2_folder_are_one_line_with_their_name(blip2, tmp_path):
    """Flipped bytes of tensors are no damage that a file without a checksum shows."""
    folder = tmp_path / "blip2"
    shutil.copytree(blip2[0], folder)
    index = folder / "model.safetensors.index.json"
    used = {file for key, file in json.loads(index.read_bytes())["weight_map"].items() if not UNUSED.match(key)}
    files = [folder / "config.json", index, *(folder / file for file in sorted(used))]
    refused, accepted = refused_damages(files, lambda: read_q_former(str(folder)))
    assert {file for file, _ in refused} == {path.name for path in files}
    assert not {one for one in accepted if one[1] in GROSS}


@pytest.mark.parametrize("place", ["../away.safetensors", "{folder}/../away.safetensors", 7, None])
def test_an_index_names_files_of_its_folder_alone(blip2, tmp_path, place):
    """On the hub, too, where no stage looks into the folder before."""
    folder = tmp_path / "blip2"
    shutil.copytree(blip2[0], folder)
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_bytes())["weight_map"]
    shutil.copy(folder / places["query_tokens"], tmp_path / "away.safetensors")
    if isinstance(place, str):
        place = place.format(folder=folder)
    index.write_text(json.dumps({"weight_map": places | {"query_tokens": place}}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"index\.json: damaged.*which is no name of a file beside it"):
        read_q_former(str(folder))


@pytest.mark.parametrize("heads", [None, 0, "12", 1.5, [], "no config"])
def test_a_config_without_a_number_of_heads_is_one_line(blip2, tmp_path, heads):
    folder = tmp_path / "blip2"
    shutil.copytree(blip2[0], folder)
    config = [3] if heads == "no config" else {"num_attention_heads": heads}
    (folder / "config.json").write_text(json.dumps({"qformer_config": config}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json: damaged.*its 'qformer_config' has no number of heads"):
        read_q_former(str(folder))

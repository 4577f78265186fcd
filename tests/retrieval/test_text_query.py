"""A text query from the tensors of the text tower alone: the model's embedding to the bit, without heavy libraries."""

import ast
from pathlib import Path

import pytest
import torch
from model_settings import make_model_params
from safetensors.torch import save_file
from tiny_clip import CONFIG, make_clip, written
from transformers import AutoConfig, AutoModel

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.inference.engine import InferenceEngine, encode_texts
from pipeline_lib.models.base_weights import BaseWeights
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import load_model, read_card, save_model
from pipeline_lib.retrieval import text_query
from pipeline_lib.retrieval.text_query import FAMILIES, TextQuery, has_separate_text, is_plain
from pipeline_lib.serving.text_embedder import TextEmbedder
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.transforms.tokenize import TextTokenizer

ROOT = Path(__file__).parents[2]
QUERIES = ["red mug", "blue striped hat lamp 红 蓝 杯 帽 mug", "unknown", "hat"]
SMALL = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
         "max_position_embeddings": 40}  # fmt: skip


@pytest.fixture(params=FAMILIES)
def family(request, tiny_text_folder, tmp_path):
    """The folder of a tower of each family, whose every parameter is random; ELECTRA's embeddings are narrow."""
    narrow = {"embedding_size": 12} if request.param == "electra" else {}
    small = {"n_layer": 2, "n_embd": 24, "n_head": 2, "vocab_size": 40} if request.param == "gpt2" else SMALL
    config = AutoConfig.for_model(request.param, **small, **narrow, pad_token_id=0, bos_token_id=2, eos_token_id=3)
    torch.manual_seed(0)
    tower = AutoModel.from_config(config)
    with torch.no_grad():
        for value in tower.parameters():
            value.add_(0.2 * torch.randn_like(value))
    tower.save_pretrained(tmp_path / "text")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "text" / name).write_bytes((tiny_text_folder / name).read_bytes())
    return tmp_path / "text"


def saved(folder, image, text, base=True, **changes):
    """Save a model with trained heads, as a train stage does; return its folder."""
    pooling = changes.pop("pooling", "mean")
    params = make_model_params({"name": str(image)}, {"name": str(text), "pooling": pooling}, **changes)
    sources = resolve_towers(params)
    torch.manual_seed(1)
    model = build_model(describe(params, sources, True, []), sources)
    save_model(folder, model, {"fold": 0}, BaseWeights(params, sources) if base else None)
    TextTokenizer(text).save(folder / "tokenizer")
    return folder


def expected(folder, queries):
    """The embedding of each query, which the model encodes alone."""
    model, tokenizer = load_model(folder).model, TextTokenizer(folder / "tokenizer")

    def encode(ids, mask):
        return model.embed_text(model.encode_text(ids, mask))

    engine = InferenceEngine("cpu", 1, 0, "fp32")
    return [encode_texts(encode, tokenizer, [query], 16, engine) for query in queries]


def found(folder, query):
    card, embedder = read_card(folder), TextEmbedder(folder, 1.0)
    assert has_separate_text(card["description"]) and embedder.saved is None
    assert embedder.fingerprint == card["fingerprint"]
    return embedder.embed([query])


def test_each_family_gives_the_models_embedding_to_the_bit(family, tiny_image_folder, tmp_path):
    folder = saved(tmp_path / "model", tiny_image_folder, family)
    assert is_plain(read_card(folder)["description"]["text"])
    for query, embedding in zip(QUERIES, expected(folder, QUERIES), strict=True):
        assert found(folder, query).tobytes() == embedding.tobytes(), query


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling": "cls"},
        {"pooling": "attentive"},
        {"pooling": "gem", "similarity": "dot"},
        {"projector": {"image": "mlp", "text": "mlp"}, "base": False},
        {"projector": {"text": "none"}, "embedding_dim": 16},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_each_head_gives_the_models_embedding_to_the_bit(changes, tiny_image_folder, tiny_text_folder, tmp_path):
    folder = saved(tmp_path / "model", tiny_image_folder, tiny_text_folder, **changes)
    for query, embedding in zip(QUERIES, expected(folder, QUERIES), strict=True):
        assert found(folder, query).tobytes() == embedding.tobytes(), query


@pytest.mark.parametrize("pooling", ["mean", "cls", "attentive", "last"])
def test_padded_texts_are_embedded_as_each_alone(family, pooling, tiny_image_folder, tmp_path):
    folder = saved(tmp_path / "model", tiny_image_folder, family, pooling=pooling)
    ids, mask = TextTokenizer(folder / "tokenizer").encode_batch(QUERIES, 16)
    assert not mask.all()
    query = text_query.TextQuery(folder, read_card(folder)["description"])
    together = query.embed(torch.from_numpy(ids), torch.from_numpy(mask))
    for embedding, alone in zip(together, expected(folder, QUERIES), strict=True):
        torch.testing.assert_close(embedding.numpy(), alone[0], atol=2e-6, rtol=0)


def test_the_image_tower_is_not_read(tiny_image_folder, tiny_text_folder, tmp_path):
    """Its base may be missing: a text query does not need it."""
    image = tmp_path / "image"
    image.mkdir()
    for file in tiny_image_folder.iterdir():
        (image / file.name).write_bytes(file.read_bytes())
    folder = saved(tmp_path / "model", image, tiny_text_folder)
    before = found(folder, "red mug")
    (image / "model.safetensors").unlink()
    assert found(folder, "red mug").tobytes() == before.tobytes()


@pytest.mark.parametrize("family", ["gpt2"], indirect=True)
def test_a_tower_of_another_family_is_built_by_its_library(family, tiny_image_folder, tmp_path):
    folder = saved(tmp_path / "model", tiny_image_folder, family, pooling="last")
    assert not is_plain(read_card(folder)["description"]["text"])
    for query, embedding in zip(QUERIES, expected(folder, QUERIES), strict=True):
        assert found(folder, query).tobytes() == embedding.tobytes(), query


def test_the_text_tower_of_a_pair_is_read_alone(tmp_path):
    """A pair of open_clip's, with the projections of its checkpoint and a tokenizer of its own."""
    clip = make_clip()
    save_file({name: value.contiguous() for name, value in clip.state_dict().items()}, tmp_path / "clip.safetensors")
    both = {"kind": "open_clip", "name": written(tmp_path, CONFIG), "weights": str(tmp_path / "clip.safetensors")}
    params = make_model_params(
        both, {**both, "pooling": "last"}, {"image": "none", "text": "none"}, embedding_dim=CONFIG["embed_dim"]
    )
    sources = resolve_towers(params)
    folder = tmp_path / "model"
    model = build_model(describe(params, sources, True, []), sources)
    save_model(folder, model, {"fold": 0}, BaseWeights(params, sources))
    TextTokenizer("open_clip").save(folder / "tokenizer")
    for query, embedding in zip(QUERIES, expected(folder, QUERIES), strict=True):
        assert found(folder, query).tobytes() == embedding.tobytes(), query


@pytest.mark.parametrize(
    "changes",
    [
        {"fusion": "early", "embedding_dim": 16, "pooling": "mean"},
        {"register_memory": {"slots_private": 2, "slots_shared": 0}},
    ],
    ids=["early fusion", "adapters"],
)
def test_other_models_are_loaded_completely(changes, tiny_text_folder, tmp_path):
    import timm

    args = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    save_file(timm.create_model("vit_tiny_patch16_224", num_classes=0, **args).state_dict(), tmp_path / "v.safetensors")
    image = {"name": "vit_tiny_patch16_224", "args": args, "weights": str(tmp_path / "v.safetensors")}
    pooling = changes.pop("pooling", "mean")
    params = make_model_params(image, {"name": str(tiny_text_folder), "pooling": pooling}, **changes)
    sources = resolve_towers(params)
    folder = tmp_path / "model"
    save_model(folder, build_model(describe(params, sources, True, []), sources), {"fold": 0})
    TextTokenizer(tiny_text_folder).save(folder / "tokenizer")
    card = read_card(folder)
    assert not has_separate_text(card["description"])
    embedding = TextEmbedder(folder, 1.0).embed(["red mug"])
    assert embedding.tobytes() == expected(folder, ["red mug"])[0].tobytes()


def test_the_hidden_tokens_are_those_of_transformers(family):
    tower = AutoModel.from_pretrained(family).eval()
    ids = torch.tensor([[2, 5, 9, 11, 17, 3]])
    with torch.inference_mode():
        theirs = tower(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        plain = text_query.PlainBert(dict(tower.state_dict()), tower.config.to_dict())
        ours = plain.hidden(ids, torch.ones_like(ids, dtype=torch.bool))
    assert torch.equal(theirs, ours)


def imported_at_once(module: str, seen: set[str]) -> set[str]:
    """All modules that importing a module of this project imports: not those that its functions import."""
    path = ROOT / (module.replace(".", "/") + ".py")
    if module in seen or not path.is_file():
        return seen | {module}
    seen = seen | {module}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            seen = imported_at_once(name, seen)
    return seen


def test_a_query_imports_no_library_of_images_or_models():
    """Each of them takes longer to import than the search."""
    modules = ("cli.search", "cli.fold_search", "models.saved", "retrieval.text_query", "retrieval.search")
    seen: set[str] = set()
    for module in modules:
        seen = imported_at_once(f"pipeline_lib.{module}", seen)
    heavy = {"timm", "transformers", "torchvision", "open_clip", "PIL", "sklearn", "dvc", "scipy", "pandas"}
    assert {"torch", "faiss", "polars"} <= seen and not {name.split(".")[0] for name in seen} & heavy


def test_a_card_without_its_base_is_one_line(tmp_path, tiny_image_folder, tiny_text_folder):
    folder = saved(tmp_path / "model", tiny_image_folder, tiny_text_folder)
    card = read_card(folder)
    assert "text" in card.pop("base")
    write_json(folder / "model.json", card)
    with pytest.raises(ValueError, match=r"model\.json: damaged, .*has tensors of the text tower"):
        TextQuery(folder, card["description"])

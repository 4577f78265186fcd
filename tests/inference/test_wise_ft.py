"""Interpolated weights: exact at both ends, linear between them, and unchanged for parts without a start."""

import numpy as np
import pytest
import torch
from model_settings import MODEL, make_model_params
from safetensors.torch import load_file, save_file
from tiny_clip import CONFIG, make_clip, written

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.inference.wise_ft import load_interpolated
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import load_model, read_card, save_model, write_model_files
from pipeline_lib.splitting.seen import Seen, write_seen
from pipeline_lib.towers.kinds import resolve_towers

SHARES = (0.0, 0.25, 0.5, 1.0)


@pytest.fixture
def params(tiny_image_folder, tiny_text_folder):
    return make_model_params(image={"name": str(tiny_image_folder)}, text={"name": str(tiny_text_folder)})


def train(params, folder, init_from, init_heads=True, classes=("hat", "mug")):
    """Save a model in which every weight differs from its start, as a train stage does."""
    sources = resolve_towers(params)
    torch.manual_seed(5)
    model = build_model(describe(params, sources, True, list(classes)), sources)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value))
    run = {"fold": 1, "train": {"init_from": str(init_from), "init_heads": init_heads}, "model": params.model_dump()}
    save_model(folder, model, run)
    return folder


def trained_from(folder, params):
    """Write into a model's card that it was trained from other weights."""
    card = read_object(folder / "model.json")
    write_json(folder / "model.json", card | {"run": card["run"] | {"model": params.model_dump()}})


@pytest.fixture
def trained(params, tmp_path):
    (tmp_path / "none").mkdir()
    return train(params, tmp_path / "trained", tmp_path / "none")


def first_weights(params):
    return {f"{n}.{key}": value for n, source in resolve_towers(params).items() for key, value in source.state.items()}


def test_share_1_is_the_trained_model_and_share_0_the_published_towers_with_trained_heads(params, trained):
    full, zero = (load_interpolated(trained, share) for share in (1.0, 0.0))
    end, start = load_file(trained / "model.safetensors"), first_weights(params)
    assert full.card == load_model(trained).card and start.keys() < end.keys()
    for name, value in full.model.state_dict().items():
        assert torch.equal(value, end[name]), name
    for name, value in zero.model.state_dict().items():
        assert torch.equal(value, start.get(name, end[name])), name
        assert name not in start or not torch.equal(value, end[name]), name


def test_weights_are_linear_in_the_share(params, trained):
    end, start = load_file(trained / "model.safetensors"), first_weights(params)
    for share in SHARES:
        model = load_interpolated(trained, share).model
        for name, value in model.state_dict().items():
            expected = (1 - share) * start[name] + share * end[name] if name in start else end[name]
            assert torch.allclose(value, expected, atol=1e-6), name
        assert not model.training


def test_each_share_has_its_own_fingerprint(params, trained):
    prints = [load_interpolated(trained, share).fingerprint for share in (*SHARES, 0.5)]
    assert len(set(prints)) == 4 and prints[2] == prints[4]
    assert prints[3] == load_model(trained).fingerprint


def test_another_start_has_another_fingerprint(tiny_image_folder, params, trained, tmp_path):
    """Otherwise a search could use an index of another interpolation."""
    other = tmp_path / "other.safetensors"
    state = load_file(tiny_image_folder / "model.safetensors")
    save_file({**state, "stem.0.weight": state["stem.0.weight"] + 1}, other)
    moved = params.model_copy(update={"image": params.image.model_copy(update={"weights": str(other)})})
    prints = []
    for one in (params, moved):
        trained_from(trained, one)
        prints.append([load_interpolated(trained, share).fingerprint for share in (0.5, 1.0)])
    assert prints[0][0] != prints[1][0] and prints[0][1] == prints[1][1]


def warm_start(trained, folder, value=None):
    """A trained model to start from: the given one, or one whose every tensor has one value."""
    start = folder / "start/1"
    start.mkdir(parents=True)
    state = load_file(trained / "model.safetensors")
    if value is not None:
        state = {name: torch.full_like(tensor, value) for name, tensor in state.items()}
    write_model_files(start, state, read_card(trained))
    return start.parent


@pytest.mark.parametrize("init_heads", [True, False])
def test_a_warm_starts_weights_are_the_start(params, trained, tmp_path, init_heads):
    """The weights of the fold, not the published weights; heads too if the run started from them."""
    second = train(params, tmp_path / "second", warm_start(trained, tmp_path, 0.5), init_heads)
    end = load_file(second / "model.safetensors")
    for name, value in load_interpolated(second, 0.5).model.state_dict().items():
        interpolated = init_heads or name.startswith(("image.", "text."))
        assert torch.allclose(value, (end[name] + 0.5) / 2 if interpolated else end[name], atol=1e-6), name


def test_a_start_that_has_seen_more_than_the_card_says_is_refused(params, trained, tmp_path):
    """A model that is put in the start's place after the training, of another split say."""
    start = warm_start(trained, tmp_path)
    second = train(params, tmp_path / "second", start)
    load_interpolated(second, 0.5)
    none = np.zeros(0, np.uint64)
    entry = write_seen(start / "1", Seen(np.array([3, 5], np.uint64), none, none, none, none))
    card = read_object(start / "1/model.json")
    write_json(start / "1/model.json", card | {"run": {**card["run"], "seen": entry}})
    with pytest.raises(ValueError, match=r"embed.interpolation: .*start/1 was trained on 2 products that the card"):
        load_interpolated(second, 0.5)
    load_interpolated(second, 1.0)


def test_share_0_is_the_warm_start_to_the_bit(params, trained, tmp_path):
    """Negative zeros of the start and trained weights that are not finite included."""
    state = load_file(trained / "model.safetensors")
    state["head.image_projection.weight"][0] = -0.0
    write_model_files(trained, state, read_card(trained))
    second = train(params, tmp_path / "second", warm_start(trained, tmp_path))
    end = load_file(second / "model.safetensors")
    end["logit_scale"] = torch.tensor(float("inf"))
    end[next(name for name in end if name.endswith("word_embeddings.weight"))][0, 0] = float("nan")
    write_model_files(second, end, read_card(second))
    model = load_interpolated(second, 0.0).model
    for name, value in model.state_dict().items():
        assert value.numpy().tobytes() == state[name].numpy().tobytes(), name


def test_another_warm_start_of_the_heads_has_another_fingerprint(params, trained, tmp_path):
    second = train(params, tmp_path / "second", warm_start(trained, tmp_path))
    one = load_interpolated(second, 0.5).fingerprint
    path = tmp_path / "start/1/model.safetensors"
    state = load_file(path)
    write_model_files(path.parent, {**state, "logit_scale": state["logit_scale"] + 1}, read_card(path.parent))
    assert load_interpolated(second, 0.5).fingerprint != one


def test_a_random_start_and_one_that_does_not_fit_are_refused(tiny_image_folder, params, trained, tmp_path):
    random = params.model_copy(update={"image": params.image.model_copy(update={"pretrained": False})})
    message = r"embed.interpolation = 0.5: the image tower started from random weights, .* write 1.0"
    trained_from(trained, random)
    with pytest.raises(ValueError, match=message):
        load_interpolated(trained, 0.5)
    assert load_interpolated(trained, 1.0).fingerprint == load_model(trained).fingerprint

    other = tmp_path / "other.safetensors"
    state = load_file(tiny_image_folder / "model.safetensors")
    save_file({name: value for name, value in state.items() if name != "stem.0.weight"}, other)
    lacking = params.model_copy(update={"image": params.image.model_copy(update={"weights": str(other)})})
    trained_from(trained, lacking)
    with pytest.raises(ValueError, match=r"do not fit the model: trunk.stem.0.weight .* write 1.0"):
        load_interpolated(trained, 0.5)


def test_parts_initialized_at_random_stay_as_trained(tiny_image_folder, tiny_text_folder, tmp_path):
    """A new pooling has no start, like the heads."""
    params = make_model_params(
        image={"name": str(tiny_image_folder), "pooling": "attentive"},
        text={"name": str(tiny_text_folder), "pooling": "attentive"},
    )
    (tmp_path / "none").mkdir()
    trained = train(params, tmp_path / "trained", tmp_path / "none")
    end, start = load_file(trained / "model.safetensors"), first_weights(params)
    state = load_interpolated(trained, 0.0, params).model.state_dict()
    new = {name for name in state if name.startswith(("image.pool.", "text.pool."))}
    assert new and not new & start.keys()
    assert all(torch.equal(value, start.get(name, end[name])) for name, value in state.items())


@pytest.mark.parametrize("layers", [0, 1])
def test_share_0_of_a_pair_without_new_heads_is_the_pair_with_its_scale(tmp_path, layers):
    """A frame pooling has no start: it stays as trained."""
    clip = make_clip()
    save_file({name: value.contiguous() for name, value in clip.state_dict().items()}, tmp_path / "clip.safetensors")
    both = {"kind": "open_clip", "name": written(tmp_path, CONFIG), "weights": str(tmp_path / "clip.safetensors")}
    params = make_model_params(
        both, {**both, "pooling": "last", "max_tokens": 77}, {"image": "none", "text": "none"},
        embedding_dim=CONFIG["embed_dim"], logit_scale=3.0, frames={**MODEL["frames"], "layers": layers},
    )  # fmt: skip
    (tmp_path / "none").mkdir()
    trained = train(params, tmp_path / "trained", tmp_path / "none", classes=())
    model = load_interpolated(trained, 0.0, params).model
    assert model.logit_scale.item() == 3.0
    start = first_weights(params)
    assert all(torch.equal(value, start[name]) for name, value in model.state_dict().items() if name in start)
    end = load_file(trained / "model.safetensors")
    frames = {name for name in end if name.startswith("frames.")}
    assert set(model.state_dict()) - set(start) == {"logit_scale"} | frames and bool(frames) == (layers > 0)
    assert all(torch.equal(model.state_dict()[name], end[name]) for name in frames)

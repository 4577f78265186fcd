"""Frame pooling against a loop over products: mask, order, attention, its start as the mean, and saved models."""

import pytest
import torch
from model_settings import MODEL, make_model_params

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.batch import Batch
from pipeline_lib.models.content import mean_of_photos
from pipeline_lib.models.frame_pooling import FrameAttention, FramePooling, FramePoolingConfig, mask_of
from pipeline_lib.models.multimodal import build_model, describe
from pipeline_lib.models.saved import load_model, save_model
from pipeline_lib.params.model import FramePoolingParams
from pipeline_lib.towers.kinds import resolve_towers

DIM, COUNTS = 16, torch.tensor([3, 1, 5, 2])
KINDS = [("attention", 0), ("mean", 2), ("attention", 2)]


def make_pooling(pooling, layers, moved=True, dim=DIM):
    """A pooling with random weights, or one as it starts."""
    torch.manual_seed(1)
    built = FramePooling(dim, FramePoolingConfig(pooling, layers, 2, 6, 0.1)).eval()
    with torch.no_grad():
        for value in built.parameters() if moved else ():
            value.add_(0.2 * torch.randn_like(value))
    return built


def features_of(counts=COUNTS):
    torch.manual_seed(2)
    return 3 * torch.randn(int(counts.sum()), DIM)


def test_the_attention_of_teachclip_has_263169_parameters():
    assert sum(value.numel() for value in FrameAttention(512).parameters()) == 263_169
    pooling = FramePooling(512, FramePoolingConfig("attention", 0, 8, 64, 0.1))
    assert sum(value.numel() for value in pooling.parameters()) == 263_169


@pytest.mark.parametrize(("pooling", "layers"), KINDS)
def test_products_do_not_see_each_other_nor_the_padding(pooling, layers):
    """All products at once, padded to the longest and beyond, against each product alone without padding."""
    built, features = make_pooling(pooling, layers), features_of()
    longer = torch.cat([mask_of(COUNTS), torch.zeros(len(COUNTS), 1, dtype=torch.bool)], dim=1)
    with torch.no_grad():
        for mask in (mask_of(COUNTS), longer):
            found, start = built(features, mask), 0
            for product, count in enumerate(COUNTS.tolist()):
                own = slice(start, start + count)
                alone = built(features[own], torch.ones(1, count, dtype=torch.bool))
                assert torch.allclose(found.features[product], alone.features[0], atol=1e-5)
                if pooling == "attention":
                    assert torch.allclose(found.weights[own], alone.weights, atol=1e-5)
                    assert torch.allclose(found.logits[own], alone.logits, atol=1e-5)
                start += count


def test_attention_is_its_formula():
    built, features, start = make_pooling("attention", 0), features_of(), 0
    w1, b1, w2, b2 = (value.detach() for value in built.attention.parameters())
    with torch.no_grad():
        found = built(features, mask_of(COUNTS))
    for product, count in enumerate(COUNTS.tolist()):
        frames = features[start : start + count]
        logits = torch.stack([w2[0] @ (w1 @ frame + b1).clamp(min=0) + b2[0] for frame in frames])
        weights = (logits / 0.1).exp() / (logits / 0.1).exp().sum()
        pooled = sum(weight * frame for weight, frame in zip(weights, frames, strict=True))
        assert torch.allclose(found.logits[start : start + count], logits, atol=1e-5)
        assert torch.allclose(found.weights[start : start + count], weights, atol=1e-5)
        assert torch.allclose(found.features[product], pooled, atol=1e-4)
        start += count


@pytest.mark.parametrize(("pooling", "layers"), [("mean", 0), *KINDS])
def test_the_order_of_frames_counts_only_with_temporal_layers(pooling, layers):
    model = make_pooling(pooling, layers)
    features = features_of(torch.tensor([5]))
    mask, order = torch.ones(1, 5, dtype=torch.bool), torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        one, other = model(features, mask).features, model(features[order], mask).features
    assert torch.allclose(one, other, atol=1e-5) == (layers == 0)


@pytest.mark.parametrize(("pooling", "layers"), KINDS)
def test_a_new_pooling_is_the_mean(pooling, layers):
    built, features = make_pooling(pooling, layers, moved=False), features_of()
    found = built(features, mask_of(COUNTS))
    assert torch.allclose(found.features, mean_of_photos(features, COUNTS), atol=1e-5)
    # Yet the first steps change it: the last map has a gradient, and then all maps before it.
    for _ in range(2):
        loss = (built(features, mask_of(COUNTS)).features * torch.arange(1.0, DIM + 1)).pow(2).sum()
        loss.backward()
        with torch.no_grad():
            for value in built.parameters():
                value -= 1e-3 * value.grad.sign()
    assert not torch.allclose(built(features, mask_of(COUNTS)).features, mean_of_photos(features, COUNTS), atol=1e-3)


def test_too_many_frames_and_heads_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"has 7 photos or frames, but model.frames.max_frames = 6; raise it"):
        make_pooling("mean", 1)(torch.randn(7, DIM), torch.ones(1, 7, dtype=torch.bool))
    assert make_pooling("attention", 0)(torch.randn(7, DIM), torch.ones(1, 7, dtype=torch.bool)).weights.shape == (7,)
    with pytest.raises(ValueError, match=r"model.frames.heads = 2 does not divide 15, the width of the image features"):
        make_pooling("mean", 1, dim=15)


def build(towers, **frames):
    """A model with random heads whose `frames` differ from the plain mean."""
    params = make_model_params(
        image={"name": str(towers[0])}, text={"name": str(towers[1])}, frames={**MODEL["frames"], **frames}
    )
    sources = resolve_towers(params)
    torch.manual_seed(3)
    model = build_model(describe(params, sources, True, ["hat", "mug"]), sources).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.startswith("frames."):
                value.add_(0.2 * torch.randn_like(value))
    return model


def photo_batch(counts=COUNTS):
    torch.manual_seed(4)
    rows, ids = torch.arange(len(counts)), torch.randint(4, 16, (len(counts), 5))
    return Batch(
        product=rows, group=rows, text=rows, has_text=rows >= 0, label=rows % 2, num_photos=counts,
        photo_mask=mask_of(counts), pixels=torch.randint(0, 256, (int(counts.sum()), 3, 32, 32), dtype=torch.uint8),
        token_ids=ids, token_mask=torch.ones_like(ids, dtype=torch.bool),
    )  # fmt: skip


@pytest.fixture
def towers(tiny_image_folder, tiny_text_folder):
    return tiny_image_folder, tiny_text_folder


def test_the_plain_mean_is_unchanged_to_the_bit(towers):
    """No parameters, no key in the card, and embeddings and logits of the means of the photos' features."""
    model, batch = build(towers), photo_batch()
    assert model.frames is None and "frames" not in model.description
    assert not any(name.startswith("frames") for name in model.state_dict())
    with torch.no_grad():
        found, means = model(batch), mean_of_photos(model.encode_image(batch.pixels), COUNTS)
        text = model.encode_text(batch.token_ids, batch.token_mask)
        assert torch.equal(found.image_embedding, model.embed_image(means)) and found.frame_logits is None
        assert torch.equal(found.class_logits, model.classify({"image": means, "text": text}))
    assert not FramePoolingParams.model_validate(MODEL["frames"]).trained


def test_a_saved_model_pools_as_before_and_an_older_card_is_that_of_a_mean(towers, tmp_path):
    model, batch = build(towers, pooling="attention", layers=1), photo_batch()
    save_model(tmp_path / "new", model, {})
    loaded = load_model(tmp_path / "new")
    assert loaded.card["description"]["frames"] == {**MODEL["frames"], "pooling": "attention", "layers": 1}
    with torch.no_grad():
        for name, value in model(batch).present().items():
            assert torch.equal(loaded.model(batch).present()[name], value), name
    save_model(tmp_path / "old", build(towers), {})
    card = read_object(tmp_path / "old/model.json")
    assert "frames" not in card["description"]
    assert load_model(tmp_path / "old").model.frames is None
    write_json(tmp_path / "old/model.json", {**card, "description": {**card["description"], "frames": MODEL["frames"]}})
    assert load_model(tmp_path / "old").model.frames is not None


def test_logits_are_those_of_the_photos_in_the_order_of_the_batch(towers):
    model, batch = build(towers, pooling="attention"), photo_batch()
    with torch.no_grad():
        logits = model(batch).frame_logits
        assert torch.allclose(logits, model.frames.attention(model.encode_image(batch.pixels)).squeeze(-1), atol=1e-5)
    names = {name for name, _ in model.head_parameters()}
    assert {f"frames.attention.{name}" for name in ("0.weight", "0.bias", "2.weight", "2.bias")} <= names


def drawn_clips(count, scale, seed):
    """Frames (2 x count, 6, DIM) that move along one direction, and the same clips backwards; which of both, (2n,)."""
    drawn = torch.Generator().manual_seed(seed)
    direction = torch.randn(DIM, generator=torch.Generator().manual_seed(9))
    start, times = torch.randn(count, 1, DIM, generator=drawn), torch.linspace(-1, 1, 6)[None, :, None]
    clips = start + 0.5 * times * direction + 0.05 * torch.randn(count, 6, DIM, generator=drawn)
    return scale * torch.cat([clips, clips.flip(1)]), torch.arange(2 * count) // count


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_the_order_is_learned_from_features_of_any_size(scale):
    """Means are equal forwards and backwards. Positions that are added to large features are not learned in time."""
    torch.manual_seed(0)
    (clips, labels), (others, expected) = (drawn_clips(40, scale, seed) for seed in (1, 2))
    mask, head = torch.ones(len(clips), 6, dtype=torch.bool), torch.nn.Linear(DIM, 2)
    built = FramePooling(DIM, FramePoolingConfig("mean", 1, 2, 6, 0.1))
    optimizer = torch.optim.AdamW([*built.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(head(built(clips.flatten(0, 1), mask).features / scale), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        predicted = head(built.eval()(others.flatten(0, 1), mask).features / scale).argmax(dim=1)
    assert (predicted == expected).float().mean() > 0.9

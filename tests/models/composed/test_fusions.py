"""Fusions of image tokens with a sentence: the module of log E, and text-guided attention over patches."""

import math
from dataclasses import replace

import pytest
import torch
from composed_settings import WIDTHS, composed_inputs, composed_model

from pipeline_lib.losses.composed_contrast import composed_contrast
from pipeline_lib.models.composed.fusions import FUSIONS
from pipeline_lib.models.composed.gated import GatedFusion
from pipeline_lib.models.composed.guided import GuidedFusion
from pipeline_lib.models.composed.inputs import StoredWidths

FUSED = [name for name in FUSIONS if name != "none"]


def tokens_and_text(batch=2, patches=5, width=20, length=4, text_width=10):
    draw = torch.Generator().manual_seed(1)
    mask = torch.arange(length) < torch.randint(1, length + 1, (batch, 1), generator=draw)
    tokens = torch.randn(batch, patches, width, generator=draw, dtype=torch.float64)
    return tokens, torch.randn(batch, length, text_width, generator=draw, dtype=torch.float64), mask


def slow_mean(text, mask):
    rows = zip(text, mask, strict=True)
    return [sum(row[k] for k in range(len(row)) if keep[k]) / int(keep.sum()) for row, keep in rows]


def test_the_module_of_log_e_has_its_parameter_count_and_shapes_and_trains_both_sides():
    fusion = GatedFusion(768, 768, 768, 0.1)
    assert sum(parameter.numel() for parameter in fusion.parameters()) == 2_952_193
    tokens, text = torch.randn(4, 257, 768, requires_grad=True), torch.randn(4, 32, 768, requires_grad=True)
    output, gate = fusion(tokens, text, torch.ones(4, 32, dtype=torch.bool))
    assert output.shape == (4, 257, 768) and gate.shape == (4, 257, 768)
    (output - tokens).square().sum().backward()
    for gradient in (tokens.grad, text.grad):
        assert (gradient.abs().flatten(1).sum(dim=1) > 0).all()


@torch.no_grad()
def test_the_gate_equals_a_slow_loop_over_tokens():
    tokens, text, mask = tokens_and_text()
    fusion = GatedFusion(20, 10, 6, 0.7).double()
    output, gate = fusion(tokens, text, mask)
    weights = {name: value.detach() for name, value in fusion.named_parameters()}
    for i, mean in enumerate(slow_mean(text, mask)):
        change = weights["text.weight"] @ mean + weights["text.bias"]
        for k in range(tokens.shape[1]):
            image = weights["image.weight"] @ tokens[i, k] + weights["image.bias"]
            opened = torch.sigmoid(weights["gate.weight"] @ torch.cat([image, change]) + weights["gate.bias"])
            moved = weights["out.weight"] @ (opened * change) + weights["out.bias"]
            torch.testing.assert_close(output[i, k], tokens[i, k] + 0.7 * moved)
            torch.testing.assert_close(gate[i, k], opened)


@torch.no_grad()
def test_guided_attention_equals_a_slow_loop_over_heads_and_tokens():
    tokens, text, mask = tokens_and_text()
    fusion = GuidedFusion(20, 10, 128, 0.7).double()
    output, weights = fusion(tokens, text, mask)
    assert fusion.heads == 2 and weights.shape == (2, 5, 2)
    for i, mean in enumerate(slow_mean(text, mask)):
        query, moved = fusion.query(mean), [[] for _ in tokens[i]]
        for head in (slice(0, 64), slice(64, 128)):
            scores = [float(query[head] @ fusion.key(token)[head]) / 8.0 for token in tokens[i]]
            total = sum(math.exp(score) for score in scores)
            for k, token in enumerate(tokens[i]):
                moved[k].append((5 * math.exp(scores[k]) / total - 1) * fusion.value(token)[head])
        for k, token in enumerate(tokens[i]):
            torch.testing.assert_close(output[i, k], token + 0.7 * fusion.out(torch.cat(moved[k])))


def test_even_attention_and_a_uniform_image_leave_the_tokens():
    tokens, text, mask = tokens_and_text()
    fusion = GuidedFusion(20, 10, 64, 0.7).double()
    uniform = tokens[:, :1].expand(-1, 5, -1)
    torch.testing.assert_close(fusion(uniform, text, mask)[0], uniform, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", FUSED)
def test_padding_of_the_text_changes_nothing(kind):
    tokens, text, mask = tokens_and_text()
    fusion = FUSIONS[kind](20, 10, 24, 0.7).double()
    other = torch.where(mask[..., None], text, 1e3)
    torch.testing.assert_close(fusion(tokens, other, mask)[0], fusion(tokens, text, mask)[0])


@pytest.mark.parametrize("fusion", FUSED)
@pytest.mark.parametrize("kind", ["sum", "combiner", "q_former"])
def test_alpha_0_is_the_model_without_fusion_bit_for_bit(kind, fusion, tiny_text_folder):
    fused = composed_model(kind, tiny_text_folder, fusion=fusion, fusion_alpha=0.0).eval()
    inputs = composed_inputs(4)
    if kind == "q_former":
        plain = composed_model(kind, tiny_text_folder, seed=1).eval()
        reference = inputs
    else:  # the image of the fused model is the mean of its tokens
        widths = StoredWidths(WIDTHS.tokens, WIDTHS.text)
        plain = composed_model(kind, tiny_text_folder, seed=1, widths=widths).eval()
        reference = replace(inputs, image=inputs.tokens.mean(dim=1))
    own = {name: value for name, value in fused.state_dict().items() if not name.startswith("fusion.")}
    plain.load_state_dict(own)
    with torch.no_grad():
        assert torch.equal(fused.compose(inputs).query, plain.compose(reference).query)
        assert torch.equal(fused.encode_targets(inputs), plain.encode_targets(reference))


@pytest.mark.parametrize("fusion", FUSED)
def test_the_fusion_changes_the_query_and_never_a_target(fusion, tiny_text_folder):
    low, high = (
        composed_model("q_former", tiny_text_folder, fusion=fusion, fusion_alpha=alpha).eval() for alpha in (0.0, 0.5)
    )
    inputs = composed_inputs(3)
    with torch.no_grad():
        assert not torch.allclose(low.compose(inputs).query, high.compose(inputs).query, atol=1e-4)
        assert torch.equal(low.encode_targets(inputs), high.encode_targets(inputs))


@pytest.mark.parametrize("fusion", FUSED)
def test_after_training_a_zero_text_moves_the_tokens_less_than_a_real_one(fusion, tiny_text_folder):
    model = composed_model("sum", tiny_text_folder, fusion=fusion)
    references, targets = composed_inputs(16, seed=2), composed_inputs(16, seed=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = composed_contrast(model(references, targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    mask = torch.ones(16, 1, dtype=torch.bool)

    def movement(text):
        with torch.no_grad():
            fused, _ = model.fusion(references.tokens, text[:, None], mask)
            return (fused - references.tokens).norm().item()

    assert movement(torch.zeros_like(references.text)) < movement(references.text)

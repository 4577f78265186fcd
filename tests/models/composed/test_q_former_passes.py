"""The passes of the Q-Former against SPRC's rules, written out plainly for one row without padding.

SPRC: a layer has cross-attention where an image is given, for the first `queries` tokens; these go through the query
feed-forward only then. Without image all tokens go through the text feed-forward.
"""

from dataclasses import replace

import pytest
import torch
from composed_settings import composed_inputs, composed_model
from torch.nn.functional import gelu, layer_norm, normalize

from pipeline_lib.losses.composed_build import COMPOSED_LOSSES

QUERIES, HEADS = 3, 2


@pytest.fixture(scope="module")
def model(tiny_text_folder):
    return composed_model("q_former", tiny_text_folder).double().eval()


@pytest.fixture
def inputs():
    return composed_inputs(4)


def affine(weights, name, values):
    return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(weights, name, values):
    return layer_norm(values, values.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)


def attend(weights, name, tokens, source):
    """Multi-head attention of tokens (n, width) over source (m, width'), then projection, residual and norm."""
    query = affine(weights, f"{name}.attention.query", tokens)
    key, value = (affine(weights, f"{name}.attention.{part}", source) for part in ("key", "value"))
    size, heads = query.shape[1] // HEADS, []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        weight = (query[:, part] @ key[:, part].T / size**0.5).softmax(dim=-1)
        heads.append(weight @ value[:, part])
    return norm(
        weights, f"{name}.output.LayerNorm", affine(weights, f"{name}.output.dense", torch.cat(heads, 1)) + tokens
    )


def feed_forward(weights, layer, suffix, tokens):
    inner = gelu(affine(weights, f"{layer}.intermediate{suffix}.dense", tokens))
    return norm(
        weights, f"{layer}.output{suffix}.LayerNorm", affine(weights, f"{layer}.output{suffix}.dense", inner) + tokens
    )


def slow_layers(weights, tokens, image):
    """Return the output (n, width) of embedded tokens (n, width); image (m, width) or None."""
    tokens = norm(weights, "qformer.layernorm", tokens)
    number = 0
    while f"qformer.encoder.layer.{number}.attention.attention.query.weight" in weights:
        layer = f"qformer.encoder.layer.{number}"
        tokens = attend(weights, f"{layer}.attention", tokens, tokens)
        if image is None:
            tokens = feed_forward(weights, layer, "", tokens)
        else:
            queries, rest = tokens[:QUERIES], tokens[QUERIES:]
            if number % 2 == 0:
                queries = attend(weights, f"{layer}.crossattention", queries, image)
            queries = feed_forward(weights, layer, "_query", queries)
            tokens = torch.cat([queries, feed_forward(weights, layer, "", rest)]) if len(rest) else queries
        number += 1
    return tokens


def slow_row(model, inputs, row):
    """Return SPRC's composed tokens Z, query and prompt query of one row, and its target embeddings."""
    weights = dict(model.passes.state_dict())
    words, positions = (weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position"))
    ids = inputs.token_ids[row][inputs.token_mask[row]]
    text = words[ids] + positions[: len(ids)]
    image = model.token_projection(inputs.tokens[row].double())
    composed = slow_layers(weights, torch.cat([model.query_tokens[0], text]), image)[:QUERIES]
    second = slow_layers(weights, torch.cat([composed, text]), None)[QUERIES]
    prompted = torch.cat([words[ids[:1]], model.prompt_tokens[0], words[ids[1:]]])
    prompt = slow_layers(weights, prompted + positions[: len(prompted)], None)[0]
    target = slow_layers(weights, model.query_tokens[0], image)
    query, prompt_query = (normalize(model.text_projection(one), dim=-1) for one in (second, prompt))
    return composed, query, prompt_query, normalize(model.vision_projection(target), dim=-1)


@torch.no_grad()
def test_all_passes_equal_the_slow_ones_row_by_row(model, inputs):
    outputs, targets = model.compose(inputs), model.encode_targets(inputs)
    assert not inputs.token_mask.all(), "padding is part of the test"
    for row in range(len(inputs.token_ids)):
        composed, query, prompt, target = slow_row(model, inputs, row)
        torch.testing.assert_close(outputs.extra["query_mean"][row], composed.mean(dim=0), atol=1e-6, rtol=0)
        torch.testing.assert_close(outputs.query[row], query, atol=1e-6, rtol=0)
        torch.testing.assert_close(outputs.extra["prompt_query"][row], prompt, atol=1e-6, rtol=0)
        torch.testing.assert_close(targets[row], target, atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_naive_passes_give_other_numbers(model, inputs):
    """Queries through the query feed-forward, and prompts in front of the text, read behind them."""
    ids, mask, passes = inputs.token_ids, inputs.token_mask, model.passes
    prompts = model.prompt_tokens.expand(len(ids), -1, -1)
    assert (passes.prompt_pass(prompts, ids, mask) - passes.query_pass(prompts, ids, mask)).abs().max() > 1e-3
    with pytest.raises(ValueError, match="encoder_hidden_states must be given"):  # SPRC's second pass by default
        passes.qformer(query_embeds=passes.embeddings(input_ids=ids, query_embeds=prompts))


@torch.no_grad()
def test_longer_padding_changes_nothing(model, inputs):
    wider = replace(
        inputs,
        token_ids=torch.nn.functional.pad(inputs.token_ids, (0, 2)),
        token_mask=torch.nn.functional.pad(inputs.token_mask, (0, 2)),
    )
    narrow, wide = model.compose(inputs), model.compose(wider)
    torch.testing.assert_close(wide.query, narrow.query)
    torch.testing.assert_close(wide.extra["prompt_query"], narrow.extra["prompt_query"])


@torch.no_grad()
def test_without_extra_the_query_is_the_same_and_no_prompt_pass_runs(model, inputs):
    outputs = model.compose(inputs, extra=False)
    assert torch.equal(outputs.query, model.compose(inputs).query) and not outputs.extra


def test_gradients_reach_every_parameter_but_word_embeddings_of_other_tokens(tiny_text_folder, inputs):
    model = composed_model("q_former", tiny_text_folder, fusion="gated", losses=dict.fromkeys(COMPOSED_LOSSES, 1.0))
    pairs = model(inputs, composed_inputs(4, seed=9))
    sum(loss(pairs) for loss in COMPOSED_LOSSES.values()).backward()
    silent = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.abs().sum()]
    assert silent == []

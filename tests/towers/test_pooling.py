import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.towers.pooling import TEXT_POOLING, as_tokens, pool_tokens

TOKENS = torch.tensor([[[1.0], [3.0], [9.0]], [[2.0], [4.0], [6.0]]])
MASK = torch.tensor([[True, True, False], [True, True, True]])


@pytest.mark.parametrize(
    ("kind", "values"), [("mean", [2.0, 4.0]), ("cls", [1.0, 2.0]), ("max", [3.0, 4.0 + 2]), ("last", [3.0, 6.0])]
)
def test_pooling_by_hand(kind, values):
    assert TEXT_POOLING[kind](1)(TOKENS, MASK).flatten().tolist() == values


def test_gem_is_the_root_of_the_mean_power():
    """p = 3: ((1 + 27) / 2)^(1/3) and ((8 + 64 + 216) / 3)^(1/3)."""
    pooled = TEXT_POOLING["gem"](1)(TOKENS, MASK).flatten().tolist()
    assert pooled == pytest.approx([14 ** (1 / 3), 96 ** (1 / 3)])


@pytest.mark.parametrize(("p", "values"), [(1.0, [2.0, 4.0]), (60.0, [3.0, 6.0])])
def test_gem_is_between_the_mean_and_the_maximum(p, values):
    pool = TEXT_POOLING["gem"](1)
    torch.nn.init.constant_(pool.p, p)
    assert pool(TOKENS / 6, MASK).mul(6).flatten().tolist() == pytest.approx(values, rel=0.03)


def test_gem_has_a_finite_gradient_for_negative_features():
    pool = TEXT_POOLING["gem"](1)
    pool(-TOKENS, MASK).sum().backward()
    assert pool.p.grad.isfinite()


def test_attentive_equals_a_loop():
    torch.manual_seed(0)
    pool, tokens = TEXT_POOLING["attentive"](4), torch.randn(2, 3, 4)
    pooled = pool(tokens, MASK)
    for row in range(2):
        unmasked = [tokens[row, place] for place in range(3) if MASK[row, place]]
        weights = [
            torch.exp(pool.context.weight[0] @ torch.tanh(pool.hidden.weight @ token + pool.hidden.bias))
            for token in unmasked
        ]
        expected = sum(weight * token for weight, token in zip(weights, unmasked, strict=True)) / sum(weights)
        assert torch.allclose(pooled[row], expected, atol=1e-6)


@pytest.mark.parametrize("kind", TEXT_POOLING)
@settings(max_examples=20)
@given(seed=st.integers(0, 1000), length=st.integers(1, 5), padding=st.integers(0, 4))
def test_padding_has_no_effect(kind, seed, length, padding):
    torch.manual_seed(seed)
    pool, tokens = TEXT_POOLING[kind](3), torch.randn(2, length, 3)
    short = pool(tokens, torch.ones(2, length, dtype=torch.bool))
    longer = torch.cat([tokens, 50 * torch.randn(2, padding, 3)], dim=1)
    mask = torch.arange(length + padding).expand(2, -1) < length
    assert torch.allclose(pool(longer, mask), short, atol=1e-5)


def test_a_feature_map_becomes_tokens_row_by_row():
    cells = torch.arange(6.0).view(1, 1, 2, 3)
    assert as_tokens(cells).flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert pool_tokens(TEXT_POOLING["mean"](1), as_tokens(cells)).item() == 2.5

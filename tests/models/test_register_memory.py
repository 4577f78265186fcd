import copy
import math

import pytest
import torch
from adapted_towers import bert, pictures, shake, texts, vit

from pipeline_lib.models.adapters import adapter_state, attach
from pipeline_lib.models.register_memory import RegisterMemory, shared_slots
from pipeline_lib.models.scale_bounds import bounded_scales, clamp_scales

SLOTS = {"register_memory": {"slots_private": 3, "slots_shared": 2}}


def read_slowly(memory, shared, tokens, mask):
    """A loop over tokens and slots, with sums and exponentials only."""
    rows = [*(memory.down_private(slot) for slot in memory.private), *(memory.down_shared(slot) for slot in shared)]
    rows = [row / row.norm() for row in rows]
    result = tokens.clone()
    for text in range(tokens.shape[0]):
        for place in range(tokens.shape[1]):
            if mask is not None and not mask[text, place]:
                continue
            query = memory.query(tokens[text, place])
            query = query / query.norm()
            powers = [math.exp(math.exp(memory.log_scale) * float(query @ row)) for row in rows]
            reading = sum(power / sum(powers) * row for power, row in zip(powers, rows, strict=True))
            inner = torch.nn.functional.gelu(memory.widen(memory.norm(reading)))
            result[text, place] = tokens[text, place] + memory.out(inner)
    return result


@pytest.mark.parametrize("mask", [None, [[True, True, False], [True, False, False]]])
def test_reading_equals_a_slow_loop(mask):
    torch.manual_seed(4)
    shared = shared_slots(2)
    memory = RegisterMemory(10, 3, shared)
    shake(memory)
    tokens = torch.randn(2, 3, 10)
    mask = None if mask is None else torch.tensor(mask)
    with torch.no_grad():
        assert torch.allclose(memory(tokens, mask), read_slowly(memory, shared, tokens, mask), atol=1e-5)
        assert not torch.allclose(memory(tokens, mask), tokens, atol=1e-2)


@pytest.mark.parametrize(("private", "shared"), [(2, 0), (0, 2), (2, 2)])
def test_initially_it_is_the_identity_and_every_parameter_is_trained(private, shared):
    torch.manual_seed(5)
    slots = shared_slots(shared) if shared else None
    memory = RegisterMemory(10, private, slots)
    tokens, target = torch.randn(4, 6, 10), torch.randn(4, 6, 10)
    assert torch.equal(memory(tokens), tokens)
    trained = [*memory.parameters(), *([slots] if shared else [])]
    before = [value.detach().clone() for value in trained]
    optimizer = torch.optim.Adam(trained, lr=1e-2)
    losses = []
    for _ in range(30):
        loss = (memory(tokens) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(not torch.equal(old, new) for old, new in zip(before, trained, strict=True))


def test_gradients_equal_finite_differences():
    torch.manual_seed(6)
    shared = torch.nn.Parameter(shared_slots(1).double())
    memory = RegisterMemory(6, 2, shared).double()
    shake(memory)
    mask = torch.tensor([[True, False]])
    tokens = torch.randn(1, 2, 6, dtype=torch.double, requires_grad=True)
    names = ["query.bias", "private", "log_scale", "out.bias"]

    def read(tokens, *values):
        named = dict(zip(names, values, strict=True))
        return torch.func.functional_call(memory, named, (tokens, mask))

    values = [memory.get_parameter(name).detach().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(read, (tokens, *values), atol=1e-6)


def test_with_a_large_scale_the_memory_returns_the_nearest_slot():
    """With scale 100 the softmax of cosines is nearly an argmax; with scale 1 it is nearly uniform."""
    torch.manual_seed(7)
    memory = RegisterMemory(8, 4, None)
    keys = memory.memory()
    with torch.no_grad():
        cosines = torch.tensor([0.9, 0.2, -0.3, 0.1])
        assert (100 * cosines).softmax(0)[0] > 0.999 > 0.5 > cosines.softmax(0)[0]
        memory.log_scale.fill_(math.log(1e9))
        clamp_scales(bounded_scales(memory))
        assert memory.log_scale.exp().item() == pytest.approx(100, rel=1e-3)
        tokens = torch.randn(1, 5, 8)
        query = torch.nn.functional.normalize(memory.query(tokens), dim=-1)
        weights = (100 * query @ keys.T).softmax(-1)
        torch.nn.init.normal_(memory.out.weight)
        inner = torch.nn.functional.gelu(memory.widen(memory.norm(weights @ keys)))
        assert torch.allclose(memory(tokens), tokens + memory.out(inner), atol=1e-4)


def test_towers_are_unchanged_initially_and_changed_by_training():
    towers = {"image": vit(), "text": bert()}
    with torch.no_grad():
        plain = towers["image"](pictures()), towers["text"](*texts())
        shared = attach(towers, SLOTS)
        adapted = towers["image"](pictures()), towers["text"](*texts())
        assert all(torch.equal(one, other) for one, other in zip(plain, adapted, strict=True))
        for tower in towers.values():
            for name, value in tower.named_parameters():
                if name.endswith("register_memory.out.weight"):
                    torch.nn.init.normal_(value)
        image, text = towers["image"](pictures()), towers["text"](*texts())
        assert not torch.allclose(image, plain[0], atol=1e-2)
        assert not torch.allclose(text, plain[1], atol=1e-2)
        shared.add_(1)  # both towers share the slots
        assert not torch.allclose(image, towers["image"](pictures()), atol=1e-4)
        assert not torch.allclose(text, towers["text"](*texts()), atol=1e-4)


def test_padding_has_no_effect_and_padded_tokens_are_unchanged():
    tower = bert()
    attach({"text": tower}, SLOTS)
    shake(tower)
    ids, mask = texts()
    with torch.no_grad():
        assert torch.allclose(tower(ids, mask)[1:], tower(ids[1:, :3], mask[1:, :3]), atol=1e-5)
    memory, hidden = tower.trunk.encoder.layer[1].register_memory, torch.randn(2, 5, 24)
    with torch.no_grad():
        tower(ids, mask)
        assert memory._mask is None  # a block without its tower reads for every token
        assert (memory.after_block(memory, (), hidden) != hidden).any(dim=-1).all()
        memory.set_mask(tower, (ids, mask))
        changed = (memory.after_block(memory, (), hidden) != hidden).any(dim=-1)
        assert torch.equal(changed, mask)
        assert (memory.after_block(memory, (), hidden[:, :4]) != hidden[:, :4]).any(dim=-1).all()  # another shape


def test_each_memory_is_in_the_layer_group_of_its_layer_and_the_slots_are_in_none():
    towers = {"image": vit(), "text": bert()}
    shared = attach(towers, SLOTS)
    for tower, prefix in ((towers["image"], "trunk.blocks."), (towers["text"], "trunk.encoder.layer.")):
        groups = tower.layer_groups()  # raises if a parameter is missing
        with_memory = [group for group in groups if any("register_memory" in name for name in group.parameters)]
        assert len(with_memory) == (3 if tower is towers["image"] else 2)
        for number, group in enumerate(with_memory):
            own = [name for name in group.parameters if "register_memory" in name]
            assert len(own) == 14 and all(name.startswith(f"{prefix}{number}.") for name in own)
            assert any(name.startswith(f"{prefix}{number}.att") for name in group.parameters)
        assert not any(value is shared for value in tower.parameters())
        assert {name for name in tower.state_dict() if "register_memory" in name} == set(adapter_state(tower))


def test_a_frozen_layer_gives_the_slots_no_gradient():
    towers = {"text": bert()}
    shared = attach(towers, SLOTS)
    shake(towers["text"])
    towers["text"].requires_grad_(False)
    assert not towers["text"](*texts()).requires_grad
    towers["text"].trunk.encoder.layer[1].requires_grad_(True)
    towers["text"](*texts()).sum().backward()
    assert shared.grad.abs().sum() > 0


def test_a_deep_copy_reads_its_own_slots():
    model = torch.nn.Module()
    model.text = bert()
    model.shared = attach({"text": model.text}, SLOTS)
    shake(model)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        before = model.text(*texts())
        assert torch.equal(copied.text(*texts()), before)
        for value in copied.parameters():
            value.zero_()
        assert torch.equal(model.text(*texts()), before)
        model.shared.add_(1)
        assert torch.equal(copied.text(*texts()), torch.zeros_like(before))


def test_the_blocks_of_every_supported_family_are_found():
    from open_clip.model import _build_text_tower, _build_vision_tower
    from transformers import AutoConfig, AutoModel

    sizes = {
        "hidden_size": 8,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 9,
        "num_hidden_layers": 2,
    }
    towers = {}
    for kind in ("bert", "roberta", "xlm-roberta", "electra"):
        towers[kind] = AutoModel.from_config(AutoConfig.for_model(kind, **sizes))
    towers["distilbert"] = AutoModel.from_config(
        AutoConfig.for_model("distilbert", dim=8, n_heads=1, hidden_dim=8, vocab_size=9, n_layers=2)
    )
    towers["gpt2"] = AutoModel.from_config(AutoConfig.for_model("gpt2", n_embd=8, n_head=1, n_layer=2, vocab_size=9))
    text = {"context_length": 8, "vocab_size": 9, "width": 8, "heads": 1, "layers": 2}
    towers["open_clip text"] = _build_text_tower(4, text, False)
    vision = {"image_size": 32, "layers": 2, "width": 8, "head_width": 4, "patch_size": 8}
    towers["open_clip image"] = _build_vision_tower(4, vision, False)
    for kind, trunk in towers.items():
        tower = torch.nn.Module()
        tower.trunk = trunk.eval()
        inputs = torch.rand(2, 3, 32, 32) if kind == "open_clip image" else torch.tensor([[3, 4, 5, 6, 7, 8, 4, 2]])
        with torch.no_grad():
            before = trunk(inputs)
            attach({"text": tower}, SLOTS)
            memories = [module for module in tower.modules() if isinstance(module, RegisterMemory)]
            assert len(memories) == 2, kind
            before, after = (one if torch.is_tensor(one) else one.last_hidden_state for one in (before, trunk(inputs)))
            assert torch.equal(before, after), kind
            shake(memories[1].out)
            after = trunk(inputs)
            assert not torch.allclose(before, after if torch.is_tensor(after) else after.last_hidden_state), kind


def test_a_tower_without_transformer_blocks_is_refused():
    from pipeline_lib.towers.timm_tower import TimmTower

    for architecture in ("resnet10t", "convnext_atto", "mobilenetv2_100"):
        tower = TimmTower({"architecture": architecture, "model_args": {}, "mean": [0.5] * 3, "std": [0.5] * 3})
        with pytest.raises(ValueError, match=r"model\.register_memory: the image tower has no list of transformer"):
            attach({"image": tower}, SLOTS)

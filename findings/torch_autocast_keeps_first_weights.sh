#!/usr/bin/env bash
# torch 2.15.0: in one `torch.autocast` block, layers compute with the weights of their first pass, whatever is loaded
#           or trained after it: the checkpoints of a soup get about the figures of the first.
#
# Expected: autocast is about number formats. The documentation says to wrap only the forward pass in training, and has
#           an example of inference with one block around the loop; so one around a comparison of checkpoints, or of a
#           model and its moving average, should be fine, and one around the loop of training a matter of style.
# Happens:  autocast makes copies of the weights in the lower precision and uses them until the outermost block ends. It
#           does not notice load_state_dict or a step of the optimizer, which write into the same tensors; a block
#           inside the block, as in a model's own forward, does not help. Below, three checkpoints with a Recall@1 of
#           .868, .994 and .998 have .868, .878 and .880 in one block: norms, which have no copies, are those of the
#           checkpoint, so the figures differ and look real. A training loop in one block ends at .002 in place of .998
#           while its loss falls from 6.0 to 4.6 by norms and temperature. Nothing is printed, and it looks like bad
#           settings. In fp32, and under inference_mode, all is right.
# Do:       a block for each forward pass, and none around it; or cache_enabled=False; or inference_mode for no_grad.
# Versions: torch 2.15.0, numpy 2.4.6, Python 3.11.7; on a CPU, in bf16
# Date:     2026-11-30
# Matters for: our forward passes, which have a block each (pipeline_lib/training/task.py), and comparisons outside.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from contextlib import contextmanager, nullcontext
from copy import deepcopy

import numpy
import torch
from torch import nn
from torch.nn import functional

print(f"torch {torch.__version__}, numpy {numpy.__version__}, Python {sys.version.split()[0]}")
torch.set_num_threads(1)
PRODUCTS, STEPS, BATCH = 2_000, 300, 128


class Pair(nn.Module):
    """Two small towers and a temperature, with the symmetric contrastive loss."""

    def __init__(self):
        super().__init__()
        self.photo, self.text = self.tower(96), self.tower(64)
        self.scale = nn.Parameter(torch.tensor(2.66))

    @staticmethod
    def tower(width):
        return nn.Sequential(nn.Linear(width, 128), nn.LayerNorm(128), nn.GELU(), nn.Linear(128, 64))

    def forward(self, photos, texts):
        photos, texts = (functional.normalize(one, dim=1) for one in (self.photo(photos), self.text(texts)))
        return self.scale.exp() * photos @ texts.T


def products(seed):
    """Return drawn photos and texts of the same products, both made from 16 hidden numbers."""
    ways = torch.Generator().manual_seed(0)
    to_photo, to_text = torch.randn(16, 96, generator=ways), torch.randn(16, 64, generator=ways)
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(PRODUCTS, 16, generator=draw)
    noise = 0.1 * torch.randn(PRODUCTS, 160, generator=draw)
    return torch.tanh(hidden @ to_photo) + noise[:, :96], torch.tanh(hidden @ to_text) + noise[:, 96:]


def bf16(**arguments):
    return torch.autocast("cpu", dtype=torch.bfloat16, **arguments)


TRAINING, TEST = products(1), tuple(one[:500] for one in products(2))


def recall(model):
    return (model(*TEST).argmax(1) == torch.arange(500)).float().mean().item()


def trained(around, inside):
    """Return the model after training in these contexts, its losses, and its states after 20, 120 and 220 steps."""
    torch.manual_seed(0)
    model = Pair()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses, states = [], []
    with around():
        for step in range(STEPS):
            if step % 100 == 20:
                states.append(deepcopy(model.state_dict()))
            rows = torch.randint(0, PRODUCTS, (BATCH,))
            with inside():
                logits = model(TRAINING[0][rows], TRAINING[1][rows]).float()
                right = torch.arange(BATCH)
                loss = functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item() / 2)
    return model, losses, states


ends = {}
for name, around, inside in (
    ("a block for each pass", nullcontext, bf16),
    ("one block around the loop", bf16, nullcontext),
    ("both", bf16, bf16),
    ("one block, cache_enabled=False", lambda: bf16(cache_enabled=False), nullcontext),
):
    model, losses, states = trained(around, inside)
    with torch.no_grad():
        ends[name] = recall(model)
    last = sum(losses[-10:]) / 10
    print(f"training, {name}: loss {losses[0]:.2f} -> {last:.2f}, Recall@1 {ends[name]:.3f}", flush=True)
    if inside is bf16 and around is nullcontext:
        checkpoints = states


def compared(name, around, inside=nullcontext):
    """Return the recall of each checkpoint, all loaded into one model in these contexts."""
    model, found = Pair(), []
    with around():
        for state in checkpoints:
            model.load_state_dict(state)
            with inside():
                found.append(round(recall(model), 3))
    print(f"Recall@1 of checkpoints, {name}: {', '.join(map(str, found))}")
    return found


@contextmanager
def no_gradients_in_bf16():
    with torch.no_grad(), bf16():
        yield


exact = compared("fp32", torch.no_grad)
each = compared("no_grad, a block for each", torch.no_grad, bf16)
one = compared("no_grad and one block", no_gradients_in_bf16)
nested = compared("no_grad and one block, with a block for each inside", no_gradients_in_bf16, bf16)
inference = compared("one block, inference_mode inside", bf16, torch.inference_mode)
usual, looped = ends["a block for each pass"], ends["one block around the loop"]
if not (usual > 0.9 and looped < 0.1 and ends["both"] < 0.1 and ends["one block, cache_enabled=False"] > 0.9):
    sys.exit("the behaviour of training has changed")
if not (min(each[1:] + inference[1:] + exact[1:]) > 0.98 and max(one + nested) < 0.9):
    sys.exit("the behaviour of comparing has changed")
PYTHON

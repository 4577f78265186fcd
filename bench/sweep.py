"""Every published architecture through the towers, with random weights; writes the table of docs/towers.md.

    python bench/sweep.py                  # all on the meta device: hours on one core
    python bench/sweep.py --real 40        # and a real forward pass of every 40th timm architecture
    python bench/sweep.py --only timm      # one library; also open_clip, transformers
    python bench/sweep.py --families       # one small architecture of each of timm's families instead of all
    python bench/sweep.py --write          # only the table, from the log

Results go to --log, one JSON line an architecture, and a killed sweep resumes there.
"""

import argparse
import json
import re
import time
import warnings
from collections import Counter
from copy import deepcopy
from pathlib import Path

import open_clip
import timm
import torch

from pipeline_lib.artifacts.messages import one_line
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.section import load_params
from pipeline_lib.towers.hf_text_tower import LAYER_PATTERNS, HFTextTower, resolve_hf
from pipeline_lib.towers.kinds import build_image_tower, build_text_tower
from pipeline_lib.towers.open_clip_image import resolve_open_clip_image
from pipeline_lib.towers.open_clip_text import resolve_open_clip_text
from pipeline_lib.towers.probe import LONGEST, fails_on_one_row
from pipeline_lib.towers.timm_tower import TimmTower, resolve_timm

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs/towers.md"
START, END = "<!-- sweep -->", "<!-- end of sweep -->"
# Text encoders of transformers that are tried: the supported types, and those whose name or use is close to them.
HF_TYPES = [
    *LAYER_PATTERNS, "camembert", "xlm-roberta-xl", "roberta-prelayernorm", "data2vec-text", "albert", "deberta-v2",
    "mpnet", "mobilebert", "convbert", "fnet", "modernbert", "nomic_bert", "t5",
]  # fmt: skip
# Words for small in timm's names, the smallest first.
SMALL = [
    "test", "zepto", "atto", "femto", "pico", "xxs", "nano", "xs", "ti", "tiny", "xxtiny", "t", "s", "small", "lite",
]  # fmt: skip
# What a fault is called in the table, by what it says.
REASONS = {
    "its output for one image has shape": "tokens or a map in place of one vector",
    "not on the hub": "its text model is on a hub, which was not reached",
    "no_causal_mask": "without a causal mask, so that padding changes the features",
    "embed_cls": "with a class embedding that padding changes",
    "hf_pooler_type": "another pooling of a text model of transformers",
    "model type": "another type of model",
    "divisible by patch size": "the patch size does not divide it",
    "Attempting to broadcast": "attention biases of one size",
    "AssertionError": "an assertion of timm",
    "Only token or avg pooling": "token or average pooling only",
    "Cannot disable pooling": "pooling cannot be left out",
    "returns no feat": "no feature map and no tokens",
    "distilled head needs token": "the distilled head needs the token",
}
MODEL = load_params(ROOT / "params.yaml")["model"]


def params(side, **changes):
    values = deepcopy(MODEL)
    values[side] = {**values[side], "pretrained": False, "weights": None, **changes}
    return ModelParams.model_validate(values)


def tried(function, *arguments):
    """What a function returns, and its error as one line."""
    try:
        return function(*arguments), None
    except Exception as error:  # a sweep counts every error
        return None, f"{type(error).__name__}: {one_line(error, LONGEST)}"


def timm_row(name, real):
    own = int(timm.get_pretrained_cfg(name).input_size[-1])
    image = {"kind": "timm", "name": name, "args": {}, "feature": "pooled"}
    source, fault = tried(resolve_timm, params("image", **image, size=own, pooling=None))
    row = {"fault": fault, "size": own}
    if source is None:
        _, row["mean"] = tried(resolve_timm, params("image", **image, size=own, pooling="mean"))
        return row
    with torch.device("meta"):
        tower = TimmTower(source.description)
    groups, row["groups"] = tried(tower.layer_groups)
    row["class"] = type(tower.trunk).__name__
    sizes = dict(tower.named_parameters())
    total = sum(value.numel() for value in sizes.values())
    row["parameters"] = total
    if groups:
        row["num_groups"] = len(groups)
        row["last"] = sum(sizes[key].numel() for key in groups[-1].parameters) / total
    row["checkpoints"] = bool(tower.checkpoint_activations())
    row["one_row"] = fails_on_one_row(source.description)
    _, row["mean"] = tried(resolve_timm, params("image", **image, size=own, pooling="mean"))
    larger, row["larger"] = tried(resolve_timm, params("image", **image, size=own + 32, pooling=None))
    row["img_size"] = bool(larger and "img_size" in larger.description["model_args"])
    if real:
        row["real"] = tried(real_forward, source.description)[1]
    return row


def real_forward(description):
    tower = build_image_tower(description).eval()
    size = description["size"]
    with torch.inference_mode():
        features = tower.encode(torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8))
    if features.shape != (2, tower.dim) or not features.isfinite().all():
        raise ValueError(f"features of shape {tuple(features.shape)}, finite: {bool(features.isfinite().all())}")


def open_clip_row(name, real):
    size = int(open_clip.get_model_config(name)["vision_cfg"].get("image_size", 224))
    image = {"kind": "open_clip", "name": name, "args": {}, "feature": "pooled", "pooling": None, "size": size}
    row = {"image": tried(resolve_open_clip_image, params("image", **image))[1]}
    text = {"kind": "open_clip", "name": name, "config": {}, "pooling": "last", "tokenizer": None, "max_tokens": 16}
    source, row["text"] = tried(resolve_open_clip_text, params("text", **text))
    if source is not None:
        _, row["text"] = tried(meta_text, source.description)
    return row


def meta_text(description):
    with torch.device("meta"):
        tower = build_text_tower(description)
        tower.layer_groups()
        tower.encode(torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.bool))


def hf_row(kind, real):
    small = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 32}  # fmt: skip
    small = {"distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": 64},
             "gpt2": {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2}}.get(kind, small)  # fmt: skip
    text = {"kind": "hf", "name": kind, "config": small, "pooling": "mean", "tokenizer": None, "max_tokens": 16}
    source, fault = tried(resolve_hf, params("text", **text))
    if source is not None:
        _, fault = tried(padding_has_no_effect, source.description)
    return {"fault": fault}


def padding_has_no_effect(description):
    tower = HFTextTower(description).eval()
    tower.layer_groups()
    ids = torch.tensor([[5, 6, 7, 8]])
    padded = torch.nn.functional.pad(ids, (0, 3), value=int(description["config"].get("pad_token_id") or 0))
    mask = torch.arange(7).unsqueeze(0) < 4
    with torch.inference_mode():
        if not torch.allclose(tower.encode(ids, mask[:, :4]), tower.encode(padded, mask), atol=1e-5):
            raise ValueError("padding changes the features")


def small_families():
    """One architecture of each of timm's modules: the smallest as far as names tell."""

    def smallness(name):
        parts = re.split(r"[_\d]", name)
        return min((place for place, word in enumerate(SMALL) if word in parts), default=len(SMALL)), len(name), name

    return [min(names, key=smallness) for module in timm.list_modules() if (names := timm.list_models(module=module))]


SWEEPS = {
    "timm": (timm.list_models, timm_row), "open_clip": (open_clip.list_models, open_clip_row),
    "transformers": (lambda: HF_TYPES, hf_row),
}  # fmt: skip


def table(rows):
    """The table of docs/towers.md: counts of what was tried, and the reasons of what did not work."""
    lines = ["| library | tried | works | does not |", "|---|---|---|---|"]
    parts = {library: [row for row in rows if row["library"] == library] for library in SWEEPS}
    if own := parts["timm"]:
        done = [row for row in own if not row["fault"]]
        lines.append(line("timm, pooled features at the own size", own, "fault"))
        lines.append(line("timm, `model.image.pooling=mean`", own, "mean"))
        lines.append(line("timm, 32 px larger than the own size", done, "larger"))
        lines.append(line("timm, layer groups", done, "groups"))
        if real := [row for row in own if "real" in row]:
            lines.append(line("timm, a real forward pass of two images", real, "real"))
    if own := parts["open_clip"]:
        lines.append(line("open_clip, image towers", own, "image"))
        lines.append(line("open_clip, text towers", own, "text"))
    if own := parts["transformers"]:
        lines.append(line("transformers, text encoders", own, "fault"))
    if own := [row for row in parts["timm"] if not row["fault"]]:
        one, not_checkpointed = sum(bool(row["one_row"]) for row in own), sum(not row["checkpoints"] for row in own)
        small = sum(row["last"] < 0.001 for row in own if "last" in row)
        large = sum(row["last"] > 0.5 for row in own if "last" in row)
        lines += [
            "",
            f"Of the {len(own):,} timm architectures that work, {sum(row['img_size'] for row in own)} get `img_size` "
            f"from `model.image.size`, {one} cannot train on one row, and {not_checkpointed} cannot checkpoint "
            f"activations. The last layer group holds under 0.1 % of the parameters in {small} and over half of them "
            f"in {large}, so the same number of open groups means little between architectures; the trainable report "
            "has the shares.",
        ]
    return "\n".join(lines)


def line(title, rows, key):
    failed = [row for row in rows if row.get(key)]
    reasons = Counter(reason_of(row[key]) for row in failed)
    shown = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common(4)) or "-"
    rest = len(failed) - sum(count for _, count in reasons.most_common(4))
    return f"| {title} | {len(rows):,} | {len(rows) - len(failed):,} | {shown}{f'; {rest}: other' if rest else ''} |"


def reason_of(fault):
    """The reason in brackets without names and numbers, so that equal faults are counted together."""
    known = next((words for part, words in REASONS.items() if part in fault), None)
    if known is not None:
        return known
    inner = re.search(r"pooling = \w+ \((.*)\); set", fault) or re.search(r"images of \d+ px \((.*)\); set", fault)
    text = inner[1] if inner else fault.split(": ", 1)[-1]
    text = re.sub(r"model\.(image|text)\.name = '[^']*':? ?", "", text)
    text = re.sub(r"'[\w./-]*'|\([^)]*\)|\d+", "…", text).replace("|", "/")
    return text[:70].strip(" .,;:")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(SWEEPS))
    parser.add_argument("--families", action="store_true", help="one small architecture of each family of timm")
    parser.add_argument("--real", type=int, default=0, help="a real forward pass of every n-th timm architecture")
    parser.add_argument("--log", type=Path, default=ROOT / "data/work/sweep.jsonl")
    parser.add_argument("--part", default="0/1", help="i/n: every n-th architecture from the i-th, for n processes")
    parser.add_argument("--write", action="store_true", help="only write docs/towers.md from the log")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    options.log.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(text) for text in options.log.read_text().splitlines()] if options.log.exists() else []
    known = {(row["library"], row["name"]) for row in rows}
    number, parts = map(int, options.part.split("/"))
    for library, (names, function) in () if options.write else SWEEPS.items():
        chosen = small_families() if library == "timm" and options.families else names()
        for place, name in enumerate(chosen):
            if options.only not in (None, library) or (library, name) in known or place % parts != number:
                continue
            started = time.perf_counter()
            row = {"library": library, "name": name, **function(name, options.real and place % options.real == 0)}
            rows.append(row)
            with options.log.open("a") as log:
                log.write(json.dumps(row) + "\n")
            print(f"{library} {name} {time.perf_counter() - started:.1f} s {row.get('fault') or ''}", flush=True)
    if options.write or parts == 1:
        page = DOCS.read_text(encoding="utf-8")
        before, rest = page.split(START)
        DOCS.write_text(f"{before}{START}\n{table(rows)}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()

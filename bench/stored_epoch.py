"""One epoch over stored features, in seconds: training steps, validation and checkpoint, ours and an older commit's.

    python bench/stored_epoch.py [--quick] [--old COMMIT]

10,000 products to train on and 2,000 held out; the output of both towers is stored, float16, 768 wide. Linear
projections with InfoNCE, and a linear classifier with cross-entropy. Both sides train the same project in processes of
their own, and their losses must be equal up to rounding. A whole call is `train_fold` of ViT-B/32 and BERT's base, for
3 epochs: it reads tables, builds the model, and saves it. CPU seconds are those of all threads of the process; on a
machine with other work they say more than the clock.
"""

import pipeline_lib.execution.threads  # noqa: F401, I001  (before torch, as in stages/train.py)
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from results import Ratio, interleaved, report

REPO = Path(__file__).resolve().parent.parent
OLD = "33a3604"
WIDTH, CONTEXT = 768, 16
TRAINING, HELD_OUT = 10_000, 2_000
# Name of a case -> losses with weight, batch size.
CASES = {
    "InfoNCE, batches of 64": (("info_nce",), 64),
    "InfoNCE, batches of 256": (("info_nce",), 256),
    "classifier, batches of 64": (("cross_entropy",), 64),
    "classifier, batches of 256": (("cross_entropy",), 256),
}


def write_towers(folder: Path, depth: int) -> None:
    """Write a timm image tower and a BERT text tower with random weights, 768 wide."""
    import timm
    import torch
    from inputs import WORDS
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    arguments = {"depth": depth, "embed_dim": WIDTH, "num_heads": 12, "img_size": 224}
    (folder / "image").mkdir(parents=True)
    (folder / "text").mkdir()
    image = timm.create_model("vit_base_patch32_224", pretrained=False, num_classes=0, **arguments)
    save_file(image.state_dict(), folder / "image/model.safetensors")
    config = {"architecture": "vit_base_patch32_224", "model_args": arguments, "mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / "image/config.json").write_text(json.dumps(config))
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "text/tokenizer.json"))
    settings = {"tokenizer_class": "BertTokenizerFast", "pad_token": "[PAD]", "model_max_length": 32}
    (folder / "text/tokenizer_config.json").write_text(json.dumps(settings))
    text = BertConfig(vocab_size=30_522, hidden_size=WIDTH, num_hidden_layers=depth, num_attention_heads=12)
    BertModel(text).save_pretrained(folder / "text")


def write_inputs(root: Path, training: int, held_out: int, depth: int) -> None:
    """Write towers and a project with labels; the photos are tiny, because no run decodes them."""
    import polars as pl
    from inputs import write_project

    write_towers(root / "towers", depth)
    tables = write_project(root, training, held_out, 32, 32).catalogue
    labels = pl.Series("label", [f"class {number % 50:02d}" for number in range(training + held_out)])
    for name, column in (("products", labels), ("relevance", pl.lit(1).alias("grade"))):
        pl.read_parquet(tables / f"{name}.parquet").with_columns(column).write_parquet(tables / f"{name}.parquet")


def write_stores(root: Path, trunk: Path, model: object) -> None:
    """Write the stores of both towers' outputs with random values, and the names of these towers."""
    import numpy as np
    import polars as pl

    from pipeline_lib.features.tower_stores import origin_of
    from pipeline_lib.loading.products import photo_key, text_key
    from pipeline_lib.stores.store import write_store
    from pipeline_lib.towers.kinds import resolve_towers

    products = pl.read_parquet(root / "catalogue/products.parquet")
    keys = {
        "image": [photo_key(key, 0) for key in products["product_id"]],
        "text": list(dict.fromkeys(text_key(text) for text in products["text"])),
    }
    for name, source in resolve_towers(model).items():
        values = np.random.default_rng(len(name)).normal(size=(len(keys[name]), WIDTH)).astype(np.float32)
        write_store(trunk / name, keys[name], values, origin_of(name, source))


def read_config(root: Path, losses: tuple[str, ...], batch: int, epochs: int) -> object:
    """Return the settings of a run with frozen towers."""
    from pipeline_lib.params.losses import LossesParams
    from pipeline_lib.params.model import ModelParams
    from pipeline_lib.params.runtime import RuntimeParams
    from pipeline_lib.params.section import load_params, parse_section
    from pipeline_lib.params.train import TrainParams
    from pipeline_lib.training.run_start import RunConfig

    params = load_params(Path("params.yaml"))
    towers = root / "towers"
    params["model"]["image"] |= {"kind": "timm", "name": str(towers / "image"), "size": 224, "args": {}}
    params["model"]["text"] |= {"kind": "hf", "name": str(towers / "text"), "pooling": "mean", "max_tokens": CONTEXT}
    params["model"]["text"]["config"] = {}
    params["model"] |= {"embedding_dim": 512}
    params["model"]["projector"] |= {"image": "linear", "text": "linear"}
    params["model"]["classifier"] |= {"kind": "linear", "inputs": "concat"}
    for name, loss in params["losses"].items():
        loss["weight"] = float(name in losses)
    params["train"] |= {
        "unfreeze_layers": 0, "epochs": epochs, "batch_size": batch, "precision": "fp32", "augment": "none",
        "photo": "first", "text": "first", "mix": "none", "mining": "none", "schedule": [], "best_metric": "loss",
        "init_from": str(REPO / "data/starts/none"), "patience": 0, "head_lr": 1e-3, "text_augment": "none",
    }  # fmt: skip
    params["runtime"] |= {"device": "cpu"}
    sections = [parse_section(kind, params) for kind in (ModelParams, LossesParams, TrainParams, RuntimeParams)]
    return RunConfig(*sections, device="cpu")


def train(root: Path, tag: str, losses: list[str], batch: int, epochs: int) -> dict:
    """Train a fold in this process; return the seconds of each epoch but the first, and of the whole call."""
    from pipeline_lib.training.fold import train_fold
    from pipeline_lib.training.fold_data import Inputs
    from pipeline_lib.training.history import History

    config, trunk = read_config(root, tuple(losses), batch, epochs), root / f"trunk-{tag}"
    if not trunk.is_dir():
        write_stores(root, trunk, config.model)
    ends, cpu, rows = [], [], []
    print_epoch = History.print_epoch

    def timed(history: History, note: str, *rest: object) -> None:
        ends.append(time.perf_counter())
        cpu.append(time.process_time())
        rows[:] = history.rows
        print_epoch(history, note, *rest)

    History.print_epoch = timed
    inputs = Inputs(root / "catalogue", root / "folds", root / "shards", trunk)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DVC_ROOT"] = folder
        (Path(folder) / "out").mkdir()
        started, started_cpu = time.perf_counter(), time.process_time()
        train_fold(config, inputs, 0, "bench", Path(folder) / "out")
        History.print_epoch = print_epoch
        whole = {"whole": time.perf_counter() - started, "whole_cpu": time.process_time() - started_cpu}
    took, cpu_took = ([after - before for before, after in pairwise(values)] for values in (ends, cpu))
    return {"epochs": took, "cpu": cpu_took, "losses": [row["val_loss"] for row in rows], **whole}


def in_tree(tree: Path, root: Path, tag: str, cases: Sequence[str], epochs: int) -> dict[str, dict]:
    """Train the cases in a process of their own with the code of a tree; return what `train` returns for each."""
    search = os.pathsep.join((str(tree), str(tree / "bench")))
    runs = [{"root": str(root), "tag": tag, "losses": CASES[one][0], "batch": CASES[one][1]} for one in cases]
    options = json.dumps([{**run, "epochs": epochs} for run in runs])
    command = [sys.executable, "-P", str(Path(__file__).resolve()), "--train", options]
    environment = {**os.environ, "PYTHONPATH": search, "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"training ended with {run.returncode}:\n{(run.stdout + run.stderr)[-2000:]}")
    return dict(zip(cases, json.loads(run.stdout.splitlines()[-1]), strict=True))


def tree_of(commit: str, folder: Path) -> Path:
    """Write the files of a commit into a folder, and return it."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=REPO, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def compare(
    trees: dict[str, Path], root: Path, cases: Sequence[str], epochs: int, repetitions: int
) -> dict[str, dict[str, list[dict]]]:
    """Train with both trees in turn; return what `train` returns for each case and tree.

    Ends the program if the losses are not equal up to rounding.
    """
    results: dict[str, dict[str, list[dict]]] = {case: {tag: [] for tag in trees} for case in cases}

    def run(tag: str) -> float:
        for case, result in in_tree(trees[tag], root, tag, cases, epochs).items():
            results[case][tag].append(result)
        return 0.0

    interleaved(repetitions, lambda: run("ours"), lambda: run("old"))
    for case, found in results.items():
        ours, old = (found[tag][0]["losses"] for tag in ("ours", "old"))
        if any(abs(one - other) > 1e-4 * abs(other) for one, other in zip(ours, old, strict=True)):
            raise SystemExit(f"{case}: the losses are {ours}, those of the older commit {old}")
    return results


def ratio(what: str, unit: str, results: dict[str, list[dict]], key: str) -> Ratio:
    """Return the comparison of a figure of every run; that of its epochs is their median."""

    def values(tag: str) -> list[float]:
        found = [result[key] for result in results[tag]]
        return [statistics.median(one) if isinstance(one, list) else one for one in found]

    return Ratio(what, unit, values("ours"), values("old"), "", lower_is_better=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--old", default=OLD, help="commit to compare with")
    options = parser.parse_args()
    training, held_out = (512, 128) if options.quick else (TRAINING, HELD_OUT)
    epochs, repetitions = (2, 1) if options.quick else (6, 3)
    ratios = []
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        trees = {"ours": REPO, "old": tree_of(options.old, Path(folder) / "old")}
        write_inputs(Path(folder) / "small", training, held_out, 1)
        for case, found in compare(trees, Path(folder) / "small", list(CASES), epochs, repetitions).items():
            ratios += [ratio(f"epoch, {case}", "s", found, "epochs"), ratio(f"epoch, {case}", "CPU s", found, "cpu")]
        write_inputs(Path(folder) / "base", training, held_out, 1 if options.quick else 12)
        (found,) = compare(trees, Path(folder) / "base", ["InfoNCE, batches of 256"], 3, repetitions).values()
        ratios += [ratio("whole call", "s", found, "whole"), ratio("whole call", "CPU s", found, "whole_cpu")]
    about = (
        f"{training:,} products to train on, {held_out:,} held out, float16 features of both towers, {WIDTH} wide. "
        f"A figure of an epoch is the median of {epochs - 1} in one run. The other side is commit {options.old}."
    )
    report("Epochs over stored features", about, ratios, options.quick)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        print(json.dumps([train(Path(one.pop("root")), **one) for one in json.loads(sys.argv[2])]))
    else:
        main()

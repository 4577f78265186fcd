"""Two processes train as one does with the same global batch: histories, weights, states of losses, resumption."""

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import launcher
from teacher_project import write_random_teacher
from tiny_project import make_settings, write_project
from torch import nn

from pipeline_lib.batch import Outputs
from pipeline_lib.execution.forkserver import SWITCH
from pipeline_lib.execution.owners import LAUNCHED
from pipeline_lib.execution.process_group import SINGLE_PROCESS, ProcessGroup, buckets, join_process_group, rows_of_rank
from pipeline_lib.models.saved import read_state
from pipeline_lib.params.model import ModelParams
from pipeline_lib.training.fold import train_fold
from pipeline_lib.training.fold_data import Inputs
from pipeline_lib.training.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")
STATEFUL = {
    "siglip": {"weight": 0.5},
    "memory_queue": {"weight": 0.5, "momentum": 0.9, "start_epoch": 1, "size": 20},
}
DISTILLATION = {f"{name}_distillation": {"weight": 0.5} for name in ("contrastive", "feature", "class")}
OPENING = {"epochs": 4, "unfreeze_layers": 0, "schedule": [{"epoch": 1, "tower": "text", "layers": 2}]}
# Name -> changed settings. A batch of 7 is split into 3 and 4.
RUNS = {
    "plain": {"epochs": 2, "batch_size": 7},
    "accumulated": {"epochs": 2, "batch_size": 6, "accumulate": 2, "mining": "hard"},
    "stateful": {"epochs": 3, "info_nce": 0.0, "losses_on": STATEFUL, "batch_size": 4, "ema_decay": 0.5},
    # The teachers' dims are 5 and 8, the student's is 8: one teacher needs a learned projection.
    "distilled": {"epochs": 2, "batch_size": 7, "losses_on": DISTILLATION},
    "frames": {"epochs": 2, "batch_size": 6, "accumulate": 2, "photo": "mean_pool"},
    "opening": OPENING,
    "two then one": OPENING,
    "one then two": OPENING,
}


def settings_of(image, text, name):
    """Settings without dropout, whose random numbers differ between processes."""
    settings = make_settings(image, text, clip_norm=0.5, **RUNS[name])
    values = settings.model.model_dump()
    values["text"]["config"] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    values["classifier"]["dropout"] = 0.0
    if name == "frames":
        values["frames"] |= {"pooling": "attention", "layers": 1}
    object.__setattr__(settings, "model", ModelParams.model_validate(values))
    return settings


def run(settings, inputs, name, processes=SINGLE_PROCESS, stop_before=None):
    """Train one fold into ./name; a stop leaves a checkpoint of the epochs before it."""
    out = Path(name)
    if processes.is_first:
        out.mkdir(exist_ok=True)
    epoch = Trainer._epoch

    def stopped(self, number, *rest):
        if number == stop_before:
            raise InterruptedError
        return epoch(self, number, *rest)

    Trainer._epoch = stopped
    try:
        train_fold(replace(settings, processes=processes), inputs, 0, name, out)
    except InterruptedError:
        assert stop_before is not None
    finally:
        Trainer._epoch = epoch


def check_gathered_gradients(processes):
    """The gradients of a small network from gathered shares, averaged, equal those of the whole batch."""
    torch.manual_seed(1)
    layer, scale, unused = nn.Linear(3, 2), nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.ones(2))
    for count in (5, 4, 2):
        rows = torch.randn(count, 3)

        def loss(values, shared):
            return (values @ values.T * shared).logsumexp(1).mean() + values.pow(3).sum()

        loss(layer(rows), scale.exp()).backward()
        parameters = [layer.weight, layer.bias, unused, scale]
        expected = [None if value.grad is None else value.grad.clone() for value in parameters]
        for value in parameters:
            value.grad = None
        own = Outputs(image_embedding=layer(rows[rows_of_rank(count, *processes.part)]), logit_scale=scale.exp())
        gathered = processes.gather(own, count)
        assert torch.allclose(gathered.image_embedding, layer(rows), atol=1e-6)
        assert gathered.logit_scale is own.logit_scale
        loss(gathered.image_embedding, gathered.logit_scale).backward()
        processes.average_gradients(parameters)
        for value, gradient in zip(parameters, expected, strict=True):
            assert (value.grad is None) == (gradient is None)
            assert gradient is None or torch.allclose(value.grad, gradient, rtol=1e-5, atol=1e-6)
            value.grad = None


def check_outputs_of_photos(processes):
    """Logits of photos are gathered by the photos of each rank's products, and so are their gradients."""
    for photos in ([2, 1, 3, 1, 2], [4, 1], [1, 1, 5]):
        weight, counts = nn.Parameter(torch.tensor(2.0)), torch.tensor(photos)
        values, ends = torch.arange(1.0, sum(photos) + 1), [0, *counts.cumsum(0).tolist()]
        rows = rows_of_rank(len(photos), *processes.part)
        own = slice(ends[rows.start], ends[rows.stop])
        gathered = processes.gather(Outputs(frame_logits=weight * values[own]), len(photos), counts).frame_logits
        assert torch.equal(gathered, 2 * values)
        (gathered**2).sum().backward()
        processes.average_gradients([weight])
        assert torch.allclose(weight.grad, 4 * (values**2).sum())
        local = processes.local_gradient(values, counts)
        assert torch.equal(local, values[own] * processes.world_size)


def check_a_missing_gradient(processes):
    """A gradient that only one process has counts as 0 on the other, and different weights are an error."""
    value = nn.Parameter(torch.zeros(2))
    if processes.rank == 1:
        value.grad = torch.tensor([2.0, 6.0])
    processes.average_gradients([value])
    assert value.grad.tolist() == [1.0, 3.0]
    kernel = nn.Parameter(torch.zeros(2, 3, 2, 2).to(memory_format=torch.channels_last))
    kernel.grad = torch.arange(24.0).view(2, 3, 2, 2).to(memory_format=torch.channels_last) * (processes.rank + 1)
    processes.average_gradients([value, kernel])
    assert torch.equal(kernel.grad, 1.5 * torch.arange(24.0).view(2, 3, 2, 2))
    assert kernel.grad.stride() == kernel.stride(), "a fused optimizer would read it in the wrong order"
    processes.check_equal([torch.ones(3), torch.full((2,), torch.nan)])
    try:
        processes.check_equal([torch.tensor([1.0 + processes.rank])])
    except AssertionError as error:
        assert processes.rank == 1 and "the weights of rank 1 differ from those of rank 0" in str(error)
    else:
        assert processes.rank == 0
    assert processes.broadcast_from_first(lambda: [processes.rank, "value"]) == [0, "value"]


def main():
    """Run the checks and all RUNS in one of two processes; the states of the losses are saved for the test."""
    root, image, text = sys.argv[1:]
    torch.set_num_threads(1)
    inputs = Inputs(*(Path(root, name) for name in ("catalogue", "folds", "shards", "none")))
    inputs = replace(inputs, teachers={name: Path(root, "features", name) for name in ("five", "eight")})
    save = Trainer._save

    def saved(self, *rest):
        save(self, *rest)
        if "memory_queue" in self.task.losses:
            torch.save(self.task.state(), f"stateful-{self.config.processes.rank}.pt")

    Trainer._save = saved
    with join_process_group("cpu") as processes:
        check_gathered_gradients(processes)
        check_outputs_of_photos(processes)
        check_a_missing_gradient(processes)
        for name in RUNS:
            stop = 2 if name == "two then one" else None
            run(settings_of(Path(image), Path(text), name), inputs, name, processes, stop)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_image_folder, tiny_text_folder, fork_server):
    """A folder with the RUNS of one process in `one`, and of two processes in `two`."""
    folder = tmp_path_factory.mktemp("processes")
    inputs = write_project(folder / "project")
    inputs = replace(
        inputs,
        teachers={
            "five": write_random_teacher(inputs, "five", 5, 1),
            "eight": write_random_teacher(inputs, "eight", 8, 2),
        },
    )
    towers = tiny_image_folder, tiny_text_folder
    two = [*shlex.split(launcher(2)), "-m", "test_process_group", inputs.catalogue.parent, *towers]
    for name in ("one", "two"):
        (folder / name).mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DVC_ROOT", raising=False)
        patch.chdir(folder / "two")
        run(settings_of(*towers, "one then two"), inputs, "one then two", stop_before=2)
        environment = os.environ | {"OMP_NUM_THREADS": "1", LAUNCHED: str(folder), SWITCH: str(fork_server)}
        environment["PYTHONPATH"] = os.pathsep.join(
            str(Path(__file__).parents[2] / part) for part in ("", "tests/support", "tests/training")
        )
        done = subprocess.run(two, env=environment, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        run(settings_of(*towers, "two then one"), inputs, "two then one")
        patch.chdir(folder / "one")
        for name in ("plain", "accumulated", "stateful", "distilled", "frames", "opening"):
            run(settings_of(*towers, name), inputs, name)
    torch.set_num_threads(threads)
    return folder


def rows_of(out):
    return np.genfromtxt(out / "history.csv", delimiter=",", names=True)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_as_one_does(runs, name):
    """Losses and metrics of every epoch and all weights, also if layers open and if the other count resumes the run."""
    one, two = runs / "one" / ("opening" if name.endswith(("one", "two")) else name), runs / "two" / name
    expected, history = rows_of(one), rows_of(two)
    assert expected.dtype.names == history.dtype.names and len(expected) == RUNS[name]["epochs"]
    for column in expected.dtype.names:
        assert np.allclose(history[column], expected[column], rtol=1e-5), column
    weights, other = read_state(one), read_state(two)
    assert weights.keys() == other.keys()
    for key, value in weights.items():
        assert torch.allclose(value, other[key], rtol=1e-4, atol=1e-6), (key, (value - other[key]).abs().max())
    assert (one / "trainable.json").read_bytes() == (two / "trainable.json").read_bytes()


def test_the_comparison_can_fail(runs):
    """Runs with another batch size or other open layers differ by more than the tolerance."""
    plain, opening = (read_state(runs / "one" / name) for name in ("plain", "opening"))
    differences = [(plain[key] - opening[key]).abs().max() for key in plain if key.startswith("head.")]
    assert max(differences) > 1e-2


def test_the_states_of_losses_are_equal_in_both_processes(runs):
    """Bias, queue and momentum encoder are bit-equal, and equal those of a single process."""
    first, second = (torch.load(runs / "two" / f"stateful-{rank}.pt", weights_only=True) for rank in (0, 1))
    single = torch.load(runs / "one/.ckpt/stateful/last.pt", weights_only=True)
    assert first["losses"]["siglip.bias"].item() != -10.0
    queue = "memory_queue._extra_state"
    assert len(first["losses"][queue]["product"]) == 20
    for key in ("product", "group", "text_id"):
        assert torch.equal(first["losses"][queue][key], single["losses"][queue][key]), key
    for part in ("model", "momentum_encoder"):
        assert all(torch.equal(value, second[part][key]) for key, value in first[part].items())
    assert torch.equal(first["losses"]["siglip.bias"], second["losses"]["siglip.bias"])
    for key, value in first["losses"][queue].items():
        assert torch.equal(value, second["losses"][queue][key]), key
        assert torch.allclose(value.float(), single["losses"][queue][key].float(), atol=1e-5), key


def test_only_the_first_process_writes(runs):
    """One TensorBoard log of epochs and one of steps, no second checkpoint and no partial file."""
    boards = [path.parent.name for path in (runs / "two/logs/tensorboard/fold0-plain").rglob("events*")]
    assert sorted(boards) == ["fold0-plain", "steps"]
    assert sorted(path.name for path in (runs / "two/.ckpt/plain").iterdir()) == [
        "DONE",
        "LOCK",
        "best.pt",
        "last.pt",
        "last.pt.previous",
        "run.json",
    ]


def test_a_single_process_communicates_nothing():
    """The same objects are returned."""
    outputs = Outputs(image_embedding=torch.ones(2, 3))
    assert (
        SINGLE_PROCESS.gather(outputs, 2) is outputs
        and SINGLE_PROCESS.local_gradient(outputs.image_embedding) is outputs.image_embedding
    )
    assert (
        SINGLE_PROCESS.broadcast_from_first(lambda: 5) == 5
        and SINGLE_PROCESS.seed(7) == 7
        and SINGLE_PROCESS.workers(3) == 3
    )
    with join_process_group("cpu") as processes:
        assert processes is SINGLE_PROCESS


def test_the_processes_of_a_machine_share_its_workers():
    assert [ProcessGroup(0, 4, 4).workers(total) for total in (0, 1, 4, 9)] == [0, 1, 1, 2]


def test_each_process_has_its_own_random_numbers():
    """The CPU generator uses the lower 32 bits of a seed; they differ between processes."""
    drawn = set()
    for rank in range(8):
        torch.manual_seed(ProcessGroup(rank, 8).seed(3 * 100_003))
        drawn.add(torch.rand(1).item())
    assert len(drawn) == 8


@pytest.mark.parametrize(("size", "expected"), [(1, [1, 1, 1, 1]), (5, [2, 1, 1]), (100, [3, 1])])
def test_a_bucket_has_one_type_and_keeps_the_order(size, expected):
    values = [torch.zeros(2), torch.zeros(3), torch.zeros(4), torch.zeros(1, dtype=torch.float64)]
    found = list(buckets(values, size))
    assert [len(bucket) for bucket in found] == expected
    assert [id(value) for bucket in found for value in bucket] == [id(value) for value in values]


def test_a_batch_with_fewer_rows_than_processes_is_refused(tmp_path, tiny_image_folder, tiny_text_folder):
    settings = make_settings(tiny_image_folder, tiny_text_folder, batch_size=2)
    with pytest.raises(ValueError, match=r"3 processes share a batch of 2 products \(train.batch_size = 2, 24"):
        config = replace(settings, processes=ProcessGroup(0, 3, 3))
        train_fold(config, write_project(tmp_path / "project"), 0, "none", tmp_path)

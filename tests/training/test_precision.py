"""fp16 with a loss scale, and a validation figure that is not a number."""

import math

import pytest
import torch
from tiny_project import make_settings, write_project
from watched_run import Watch, differing, losses, run, stop_before

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.execution.device import resolve_precision
from pipeline_lib.execution.precision import float32_products, loss_scaler
from pipeline_lib.models.saved import read_state
from pipeline_lib.training.task import Task
from pipeline_lib.training.trainer import Trainer
from pipeline_lib.training.validation import Validator

pytestmark = [pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"), pytest.mark.usefixtures("isolated")]


@pytest.fixture
def inputs(tmp_path):
    return write_project(tmp_path / "project")


@pytest.fixture
def small_scale(monkeypatch):
    """A first scale at which no gradient of the tiny model overflows; the default one would skip its few steps."""
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(
        torch.amp, "GradScaler", lambda device, enabled: scaler(device, init_scale=64.0, enabled=enabled)
    )


@pytest.mark.usefixtures("small_scale")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_fp16_trains_as_fp32_does(inputs, towers, accumulate):
    """Losses to fp16's three digits: gradients are unscaled before they are clipped."""
    outs = {
        name: run(make_settings(*towers, precision=name, accumulate=accumulate, batch_size=4), inputs, name)
        for name in ("fp32", "fp16")
    }
    assert read_object(outs["fp16"] / "model.json")["run"]["precision"] == "fp16"
    assert losses(outs["fp16"]) == pytest.approx(losses(outs["fp32"]), rel=0.02)
    names = [read_state(out) for out in outs.values()]
    assert differing(*names), "fp16 rounds"


def test_a_step_whose_gradients_overflow_is_skipped_and_halves_the_scale(inputs, towers, monkeypatch):
    watch, scales = Watch(monkeypatch), []
    step = Trainer._step

    def overflowing(trainer):
        if not scales:
            trainer.optimizer.param_groups[0]["params"][0].grad.fill_(float("inf"))
        step(trainer)
        scales.append(trainer.task.scaler.get_scale())

    monkeypatch.setattr(Task, "scaler", property(lambda task: scaler))
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    monkeypatch.setattr(Trainer, "_step", overflowing)
    run(make_settings(*towers, precision="fp16", epochs=1), inputs, "out")
    assert scales[:2] == [32.0, 32.0]
    assert not differing(watch.start, watch.steps[0]) and differing(watch.start, watch.steps[1])


@pytest.mark.usefixtures("small_scale")
def test_a_resumed_run_restores_the_scale(inputs, towers, monkeypatch):
    settings = make_settings(*towers, precision="fp16")
    uninterrupted = run(settings, inputs, "uninterrupted")
    stop_before(1, settings, inputs, "same", monkeypatch)
    resumed = run(settings, inputs, "resumed", "same")
    assert (uninterrupted / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()
    checkpoint = torch.load(".ckpt/same/last.pt", weights_only=True)
    assert checkpoint["scaler"]["scale"] == 64.0 and checkpoint["scaler"]["_growth_tracker"] > 0


def test_gradients_that_overflow_at_any_scale_stop_the_run(inputs, towers, monkeypatch):
    scaler = torch.amp.GradScaler("cpu", init_scale=0.5)
    monkeypatch.setattr(Task, "scaler", property(lambda task: scaler))
    with pytest.raises(ValueError, match=r"fp16: gradients overflow .* train.precision = bf16 or fp32"):
        run(make_settings(*towers, precision="fp16"), inputs, "out")


def test_tf32_needs_a_gpu_that_has_it(monkeypatch):
    with pytest.raises(ValueError, match="tf32 needs an NVIDIA GPU .* write auto, fp32 or fp16"):
        resolve_precision("tf32", "cpu")
    for capability, known in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        if known:
            assert resolve_precision("tf32", "cuda") == "tf32"
        else:
            with pytest.raises(ValueError, match="tf32 needs"):
                resolve_precision("tf32", "cuda")


@pytest.mark.parametrize(
    ("precision", "inside"),
    [("tf32", ("high", True)), ("fp32", ("highest", False)), ("bf16", None), ("fp16", None)],
)
def test_float32_products_are_tf32_only_if_asked_for_and_the_settings_are_restored(precision, inside):
    def current():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = current()
    with pytest.raises(RuntimeError, match="broken"), float32_products(precision):
        assert current() == (inside or before)
        raise RuntimeError("broken")
    assert current() == before


def test_only_fp16_scales_its_loss():
    assert [loss_scaler("cpu", name).is_enabled() for name in ("fp32", "tf32", "bf16", "fp16")] == [False] * 3 + [True]


def with_figures(monkeypatch, figures):
    """Replace the validated loss of each epoch."""
    measure, values = Validator.measure, iter(figures)
    monkeypatch.setattr(
        Validator, "measure", lambda validator, task: {**measure(validator, task), "val_loss": next(values)}
    )


@pytest.mark.parametrize(
    ("figures", "best"), [([math.nan, 2.0, 1.0], 2), ([math.nan, 1.0, math.nan], 1), ([3.0, -math.inf, 2.0], 2)]
)
def test_a_figure_that_is_not_finite_does_not_freeze_the_choice(inputs, towers, monkeypatch, capsys, figures, best):
    with_figures(monkeypatch, figures)
    watch = Watch(monkeypatch)
    out = run(make_settings(*towers), inputs, "out")
    card = read_object(out / "model.json")["run"]
    assert (card["best_epoch"], card["best"]["val_loss"]) == (best, figures[best])
    assert f"|| best {best} by val_loss" in capsys.readouterr().err.splitlines()[-1]
    assert not differing(read_state(out), watch.measured[best])


def test_a_run_without_any_finite_figure_is_an_error(inputs, towers, monkeypatch):
    with_figures(monkeypatch, [math.nan] * 3)
    with pytest.raises(ValueError, match="train.best_metric = 'loss' was not finite in any epoch"):
        run(make_settings(*towers), inputs, "out")

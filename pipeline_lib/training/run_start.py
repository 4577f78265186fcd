"""What a run starts from: the settings that decide its result, and the initial weights of its towers."""

from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.execution.process_group import SINGLE_PROCESS, ProcessGroup
from pipeline_lib.inference.warm_start import warm_sources
from pipeline_lib.models.base_weights import BaseWeights
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.model import ModelParams
from pipeline_lib.params.runtime import RuntimeParams
from pipeline_lib.params.train import TrainParams
from pipeline_lib.towers.joint_space import pair_warnings, settle_bias, settle_heads
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.towers.scales import check_scales
from pipeline_lib.towers.tower import TowerSource
from pipeline_lib.training.loggers import check_installed


@dataclass(frozen=True)
class RunConfig:
    """The sections of params.yaml that decide the result of a run, and the machine it runs on.

    `scales` are the image sizes at which the model will predict; one that it does not support stops the run.
    """

    model: ModelParams
    losses: LossesParams
    train: TrainParams
    runtime: RuntimeParams
    device: str
    processes: ProcessGroup = SINGLE_PROCESS
    scales: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError, before any work, if the library of runtime.logger is not installed."""
        check_installed(self.runtime.logger)


@dataclass(frozen=True)
class InitialWeights:
    """The weights that a run starts from: those that `model` names, or those of a trained model in `folder`.

    `heads` is the folder if the heads start from it too. `unchanged` has the towers whose weights are those that
    `model` names; a phase that trained only heads leaves them so. `model` and `losses` are the params with the values
    that follow from these weights; `warnings` are lines for the trainable report. `base` are the weights that `model`
    names, whatever the run starts from.
    """

    towers: dict[str, TowerSource]
    folder: Path | None
    heads: Path | None
    unchanged: frozenset[str]
    model: ModelParams
    losses: LossesParams
    base: BaseWeights
    warnings: tuple[str, ...] = ()


def resolve_initial_weights(config: RunConfig, start: Path | None) -> InitialWeights:
    """Return the weights that a run starts from; `start` is the folder of a trained model, if any."""
    named = resolve_towers(config.model)
    check_scales(named["image"].description, config.scales)
    # A warm start keeps the joint space of the pair that `model` names.
    model = settle_heads(config.model, named)
    losses, warnings = settle_bias(config.losses, model, named), tuple(pair_warnings(model, named))
    base = BaseWeights(config.model, named)
    if start is None:
        return InitialWeights(named, None, None, frozenset(named), model, losses, base, warnings)
    towers = warm_sources(named, start)
    unchanged = {name for name in towers if towers[name].state_hash == named[name].state_hash}
    heads = start if config.train.init_heads else None
    return InitialWeights(towers, start, heads, frozenset(unchanged), model, losses, base, () if heads else warnings)

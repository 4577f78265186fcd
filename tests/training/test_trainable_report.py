"""The trainable report: shares of layer groups, and a model with adapters."""

from types import SimpleNamespace

import pytest
import torch
from tiny_project import TRAIN

from pipeline_lib.models.adapters import attach, frozen_adapters
from pipeline_lib.optim.freezing import unfreeze_epochs
from pipeline_lib.params.train import TrainParams
from pipeline_lib.towers.hf_text_tower import HFTextTower
from pipeline_lib.towers.tower import TowerSource
from pipeline_lib.training.run_start import InitialWeights
from pipeline_lib.training.trainable_report import report_table, trainable_report


class TextModel(torch.nn.Module):
    """A model with a text tower only, with the methods that the report calls."""

    def __init__(self):
        super().__init__()
        from transformers import BertConfig

        config = BertConfig(
            vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=1, intermediate_size=8
        )
        self.text = HFTextTower({"config": config.to_dict(), "pooling": "mean"})
        self.slots = attach(self.towers(), {"register_memory": {"slots_private": 1, "slots_shared": 1}})

    def towers(self):
        return {"text": self.text}

    def head_parameters(self):
        return [("shared_slots", self.slots)]


def reported(model, **changes):
    source = TowerSource({}, "somewhere", {"weight": torch.zeros(1)})
    initial = InitialWeights({"text": source}, None, None, frozenset(), None, None, None)
    train = TrainParams.model_validate({**TRAIN, **changes})
    opened = {"text": unfreeze_epochs(3, "text", train)}
    return trainable_report(
        SimpleNamespace(model=model, towers=model.towers(), initial=initial, unfreeze_epochs=opened), train
    )


def test_the_shares_are_those_of_the_counts():
    """A group may hold under 0.1 % of a tower or over half of it, so a number of groups alone says little."""
    model = TextModel()
    schedule = [{"epoch": 1, "tower": "text", "layers": 2}]
    report = reported(model, unfreeze_layers=1, schedule=schedule, epochs=2)
    text, head = report["towers"]
    (step,), groups = report["steps"], text["groups"]
    assert text["share"] == pytest.approx(text["trainable"] / text["total"], abs=1e-6) and head["share"] == 1.0
    assert [group["share"] for group in groups] == [
        pytest.approx(group["parameters"] / text["total"], abs=1e-6) for group in groups
    ]
    assert sum(group["share"] for group in groups) == pytest.approx(1, abs=1e-5)
    assert step["share"] == groups[1]["share"] and text["share"] == groups[2]["share"]
    (column,) = [column for column in report_table(report).columns if column.header == "share"]
    assert list(column.cells) == [f"{text['share']:.1%}", "100.0%", f"+ {step['share']:.1%}"]


def test_a_frozen_register_memory_has_a_warning():
    model = TextModel()

    def report(depth):
        return reported(model, unfreeze_layers=depth)

    warnings = {depth: report(depth)["warnings"] for depth in (0, 1, "all")}
    line = "text: model.register_memory stays frozen and has no effect; raise train.unfreeze_layers up to its block"
    assert warnings == {0: [line], 1: [], "all": []}
    assert report(1)["towers"][0]["total"] == sum(value.numel() for value in model.text.parameters())
    assert [group["opens"] for group in report(1)["towers"][0]["groups"]] == [None, None, 0]
    assert frozen_adapters("text", model.text, set()) == [line]

"""The trainable report of a model with adapters."""

from types import SimpleNamespace

import torch
from tiny_project import TRAIN

from pipeline_lib.models.adapters import attach, frozen_adapters
from pipeline_lib.models.hf_text_tower import HFTextTower
from pipeline_lib.models.towers import TowerSource
from pipeline_lib.optim.freezing import unfreeze_epochs
from pipeline_lib.params.train import TrainParams
from pipeline_lib.training.model_setup import InitialWeights
from pipeline_lib.training.trainable_report import trainable_report


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


def test_a_frozen_register_memory_has_a_warning():
    model = TextModel()
    source = TowerSource({}, "somewhere", {"weight": torch.zeros(1)})
    initial = InitialWeights({"text": source}, None, None, frozenset(), None, None)

    def report(depth):
        train = TrainParams.model_validate({**TRAIN, "unfreeze_layers": depth})
        opened = {"text": unfreeze_epochs(3, "text", train)}
        return trainable_report(SimpleNamespace(model=model, initial=initial, unfreeze_epochs=opened), train)

    warnings = {depth: report(depth)["warnings"] for depth in (0, 1, "all")}
    line = "text: model.register_memory stays frozen and has no effect; raise train.unfreeze_layers up to its block"
    assert warnings == {0: [line], 1: [], "all": []}
    assert report(1)["towers"][0]["total"] == sum(value.numel() for value in model.text.parameters())
    assert [group["opens"] for group in report(1)["towers"][0]["groups"]] == [None, None, 0]
    assert frozen_adapters("text", model.text, set()) == [line]

import torch
from tiny_project import TRAIN

from pipeline_lib.models.adapters import attach, frozen_adapters
from pipeline_lib.models.hf_text_tower import HFTextTower
from pipeline_lib.optim.freezing import unfreeze_epochs
from pipeline_lib.params.train import TrainParams
from pipeline_lib.training.trainable_report import plan_of


class TwoTexts(torch.nn.Module):
    """As much of a model as a plan asks for."""

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


def test_frozen_memories_are_told_of():
    from pipeline_lib.models.towers import TowerSource

    model = TwoTexts()
    sources = {"text": TowerSource({}, "somewhere", {"weight": torch.zeros(1)})}

    def plan(depth):
        train = TrainParams.model_validate({**TRAIN, "unfreeze_layers": depth})
        return plan_of(model, sources, train, {"text": unfreeze_epochs(3, "text", train)})

    told = {depth: plan(depth)["warnings"] for depth in (0, 1, "all")}
    line = "text: model.register_memory stays frozen and adds nothing; raise train.unfreeze_layers up to its block"
    assert told == {0: [line], 1: [], "all": []}
    assert plan(1)["towers"][0]["total"] == sum(value.numel() for value in model.text.parameters())
    assert [group["opens"] for group in plan(1)["towers"][0]["groups"]] == [None, None, 0]
    assert frozen_adapters("text", model.text, set()) == [line]

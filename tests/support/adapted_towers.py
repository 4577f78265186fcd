"""Small transformer towers with random weights: timm's ViT and BERT."""

import torch

from pipeline_lib.towers.hf_text_tower import HFTextTower
from pipeline_lib.towers.timm_tower import TimmTower

VIT = {"img_size": [32, 48], "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2}


def vit(**arguments) -> TimmTower:
    torch.manual_seed(0)
    description = {"architecture": "vit_tiny_patch16_224", "model_args": {**VIT, **arguments}}
    return TimmTower({**description, "mean": [0.5] * 3, "std": [0.5] * 3}).eval()


def bert(layers: int = 2) -> HFTextTower:
    from transformers import BertConfig

    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=20, hidden_size=24, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    return HFTextTower({"config": config.to_dict(), "pooling": "mean"}).eval()


def pictures(count: int = 2, height: int = 32, width: int = 48) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(2))


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]])
    return ids, ids != 0


def shake(module: torch.nn.Module) -> None:
    """Add noise to every parameter, because some are initialised to zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in module.parameters():
            value.add_(0.3 * torch.randn(value.shape, generator=generator))

"""Towers that do not run, in a model whose pooled features are all stored: only their width is known."""

from typing import NoReturn

from torch import Tensor

from pipeline_lib.batch import LayerGroup
from pipeline_lib.towers.tower import ForwardBlock, ImageTower, TextTower, Tower


class _StoredTower(Tower):
    """A tower without layers."""

    def layer_groups(self) -> list[LayerGroup]:
        """Return no group."""
        return []

    def checkpoint_activations(self) -> bool:
        """Return False: nothing is computed."""
        return False

    def forward_blocks(self, mask: Tensor | None = None) -> list[ForwardBlock]:
        """Return no block."""
        return []

    def forward(self, *inputs: Tensor) -> NoReturn:
        """Raise AssertionError: a model with this tower gets features only."""
        raise AssertionError("this tower's features are stored, so it was not loaded")


class StoredImageTower(_StoredTower, ImageTower):
    """The image tower of stored features (photos, dim)."""

    def __init__(self, dim: int) -> None:
        ImageTower.__init__(self, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        self.dim = dim

    def tokens(self, pixels: Tensor) -> Tensor:
        """Raise AssertionError, as `forward`."""
        self.forward(pixels)

    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Raise AssertionError, as `forward`."""
        self.forward(pixels)


class StoredTextTower(_StoredTower, TextTower):
    """The text tower of stored features (texts, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def tokens(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Raise AssertionError, as `forward`."""
        self.forward(token_ids, mask)

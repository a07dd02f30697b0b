"""A model with a convolution, a normalisation and a Linear layer, one after the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.norm = nn.LayerNorm(6)
        self.linear = nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(self.conv(x).movedim(1, -1)))  # type: ignore[no-any-return]


def model_and_input() -> tuple[Model, Tensor]:
    torch.manual_seed(0)
    return Model().double(), torch.randn(2, 4, 5, 5).double()

"""A running average of the adapter's parameters, which is calmer than the parameters themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average (EMA) of what is trained.

    Args:
        network: its trained parameters are averaged, in their own dtype.
        decay: share of the old average kept in a step. The first steps keep less, as diffusers'
            EMAModel does it: the average of a young run must not remember the untrained adapter.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._trained = {
            name: parameter
            for name, parameter in network.named_parameters()
            if parameter.requires_grad
        }
        self.tensors = {name: p.detach().clone() for name, p in self._trained.items()}

    def decay_at(self, step: int) -> float:
        """Share of the old average that the given step keeps, counted from 1."""
        return 0.0 if step <= 1 else min(self.decay, step / (9 + step))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters as they are after a step, counted from 1."""
        new = 1.0 - self.decay_at(step)
        for name, parameter in self._trained.items():
            self.tensors[name].lerp_(parameter, new)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a saved average of the same parameters."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the averaged parameters inside the `with`, and its own after it."""
        own = {name: parameter.data for name, parameter in self._trained.items()}
        try:
            for name, parameter in self._trained.items():
                parameter.data = self.tensors[name]
            yield
        finally:
            for name, parameter in self._trained.items():
                parameter.data = own[name]

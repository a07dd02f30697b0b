"""A moving average of the adapter's parameters over the steps (EMA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average (EMA) of a network's trained parameters.

    Args:
        network: the average starts at its parameters and has their dtype.
        decay: share of the old average that a step keeps. The first steps keep less, as in
            diffusers' EMAModel, so that the untrained adapter is soon forgotten.
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
        """Return the share of the old average that a step keeps; steps count from 1."""
        return 0.0 if step <= 1 else min(self.decay, step / (9 + step))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the parameters as they are after a step to the average; steps count from 1."""
        new = 1.0 - self.decay_at(step)
        for name, parameter in self._trained.items():
            self.tensors[name].lerp_(parameter, new)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the average by a saved one.

        Args:
            tensors: parameter's name -> its average.
        """
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the network the averaged parameters for a ``with`` block, then its own back."""
        trained = {name: parameter.data for name, parameter in self._trained.items()}
        try:
            for name, parameter in self._trained.items():
                parameter.data = self.tensors[name]
            yield
        finally:
            for name, parameter in self._trained.items():
                parameter.data = trained[name]

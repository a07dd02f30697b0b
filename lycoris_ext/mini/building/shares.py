"""Split a training step's batch between threads that work independently.

Torch's own threads synchronise after every operation. If another program uses a core, they wait
for the slowest thread hundreds of times per step (measured: 4 s instead of 0.13 s). Here each
thread computes the gradients of its part of the batch, and the threads synchronise once. They run
in parallel because torch releases the GIL inside operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn


class Shares:
    """A pool of threads that compute the gradients of parts of a batch.

    Args:
        parameters: the parameters that are trained.
        workers: number of threads; if it is above 1, set torch's own threads to 1.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], workers: int) -> None:
        self.parameters = list(parameters)
        self.workers = workers
        self._pool = ThreadPoolExecutor(workers)

    def backward(self, losses: Sequence[Callable[[], Tensor]]) -> float:
        """Compute all losses and their gradients; store the mean gradient in `.grad`.

        Args:
            losses: functions that return the loss of one part of the batch each.

        Returns:
            The mean loss.
        """

        def work(loss: Callable[[], Tensor]) -> tuple[float, list[Tensor]]:
            value = loss()
            return float(value.detach()), list(torch.autograd.grad(value, self.parameters))

        results = list(self._pool.map(work, losses))
        total = results[0][1]
        for _, gradients in results[1:]:
            torch._foreach_add_(total, gradients)
        torch._foreach_div_(total, len(results))
        for parameter, gradient in zip(self.parameters, total, strict=True):
            parameter.grad = gradient
        return sum(value for value, _ in results) / len(results)

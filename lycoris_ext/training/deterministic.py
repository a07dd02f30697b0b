"""Training whose every operation adds in a fixed order, so that it gives the same bits again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lycoris_ext.errors import EnvironmentFault

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_REFUSED = "does not have a deterministic implementation"


@contextmanager
def deterministic(wanted: bool = True) -> Iterator[None]:
    """Let torch use deterministic algorithms alone in a ``with`` block, and refuse the others.

    Source: https://pytorch.org/docs/stable/notes/randomness.html

    Args:
        wanted: do nothing if it is False.

    Raises:
        EnvironmentFault: torch knows only ways of an operation that add in any order.
    """
    if not wanted:
        yield
        return
    cudnn = torch.backends.cudnn
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark, workspace = cudnn.benchmark, os.environ.get(_WORKSPACE)
    # cuBLAS reads it when it is used first; without it torch refuses its products on a GPU.
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(True)
    cudnn.benchmark = False
    try:
        yield
    except RuntimeError as error:
        if _REFUSED not in str(error):
            raise
        raise EnvironmentFault(
            f"this cannot be trained with --deterministic: {str(error).partition('.')[0]}",
            where="--deterministic",
            fix="train without it, or on the CPU",
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)

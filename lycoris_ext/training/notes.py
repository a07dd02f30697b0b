"""What is said about the network once before training: its size, and notes."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lycoris_ext.network import Network
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.precision import DTYPES, choose_device
from lycoris_ext.words import count, file_size


def describe_run(config: TrainConfig, network: Network, total_steps: int) -> str:
    """Return a line for the user: algorithm, layers, file size, steps, device, optimizer."""
    numbers = network.parameter_count()
    size = numbers * DTYPES[config.run.save_precision].itemsize
    return (
        f"{config.network.algo} {config.network.network_dim}: "
        f"{count(len(network.sites), 'layer')}, {count(numbers, 'parameter')}, "
        f"{file_size(size)}; {count(total_steps, 'step')} on "
        f"{choose_device(config.run.device).type} "
        f"({count(torch.get_num_threads(), 'thread')}), {config.optimizer.optimizer_type}"
    )


def network_notes(network: Network) -> Iterator[str]:
    """Yield the network's own notices, and with DoRA how ComfyUI computes it."""
    yield from network.notices
    axes = {
        "wd_on_output" in layer.plan.shown_options()
        for layer in network.layers.values()
        if layer.plan.dora is not None
    }
    if False in axes:
        yield (
            "DoRA trains the lengths of input channels, which ComfyUI computes correctly; lengths "
            "of output channels (wd_on_output) it computes wrongly"
        )
    if True in axes:
        yield (
            "DoRA trains the lengths of output channels (wd_on_output), which ComfyUI computes "
            "wrongly; lengths of input channels, the default, it computes correctly"
        )

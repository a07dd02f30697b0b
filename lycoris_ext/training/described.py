"""What is said about a run in one line before training."""

from __future__ import annotations

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

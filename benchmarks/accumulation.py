"""Measure optimizer steps of several batches, with shared factors built once or for each batch.

    python benchmarks/accumulation.py --json benchmarks/results/accumulation_cpu.json

As in step_time.py it measures SD1.5's U-Net on one thread in process CPU time and interleaved
rounds. Figures are medians of the per-round ratios to the floor, which is the frozen U-Net's
forward and backward for the same number of batches. ``of_it_once`` is the part of a step's seconds
that does not depend on its number of batches.

``kernels`` counts PyTorch's operators without views and empty tensors; on a GPU each is one kernel
launch. They are counted on the meta device in bf16, where torch takes the same ones as on a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
from contestants import CASES
from measuring import environment, ratios, write_json
from torch.utils._python_dispatch import TorchDispatchMode
from unets import make_step, make_unet

from lycoris_ext.network import Network, NetworkConfig, build_network
from lycoris_ext.network.banks import Banks
from lycoris_ext.training.memory import keep_freed_memory

EMPTY = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
NO_WORK = {"detach", "_unsafe_view", *EMPTY}


class CountKernels(TorchDispatchMode):
    """A dispatch mode that counts operators, without views and allocations."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.count += not (func.is_view or func._opname in NO_WORK)
        return out


def optimizer_step(network: Network | None, banks: Banks | None, batch: Callable[[], None]) -> None:
    """Do an optimizer step without the optimizer itself.

    Args:
        network: the adapter, or None for the frozen model.
        banks: builds the factors once for all batches; None builds them for each batch.
        batch: does the forward and backward of all batches.
    """
    with (
        nullcontext() if network is None else network.injected(),
        nullcontext() if banks is None else banks.precomputed_once(),
    ):
        batch()
    if network is not None:
        network.zero_grad()


def count_kernels(options: dict[str, Any], latents: int) -> dict[str, int]:
    """Count the kernels of a batch, frozen and adapted in both ways, and of what is built once."""
    unet = make_unet("sd15", "meta").to(torch.bfloat16)
    with torch.device("meta"):
        noisy = torch.empty(1, 4, latents, latents, dtype=torch.bfloat16)
        text = torch.empty(1, 77, 768, dtype=torch.bfloat16)
        timestep = torch.empty(1, dtype=torch.int64)

    def batch() -> None:
        inputs = noisy.clone().requires_grad_(), timestep, text.clone().requires_grad_()
        unet(*inputs).sample.square().mean().backward()

    network = build_network({"unet": unet}, NetworkConfig(**options))
    banks = Banks(network.layers.values())

    def counted(work: Callable[[], None]) -> int:
        with CountKernels() as mode:
            work()
        return mode.count

    report = {"batch, frozen": counted(batch)}
    with network.injected():
        batch()  # later batches add to existing gradients
        report["batch, built each time"] = counted(batch)
        network.zero_grad()
        with CountKernels() as all_of_it, banks.precomputed_once():
            batch()
            one = counted(batch)
        report["batch, built once"] = one
        report["once"] = all_of_it.count - 2 * one
    report["groups"] = len(banks.groups)
    return report


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure process CPU seconds of optimizer steps; each round measures all cases in turn."""
    unet = make_unet("sd15")
    network = build_network({"unet": unet}, NetworkConfig(**CASES["loha_8_4"].options))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)  # zeros can be faster than numbers
    banks = Banks(network.layers.values())
    one = make_step(unet, "sd15", args.latents, 1, [])
    spent: list[float] = []

    def batches() -> None:
        start = time.process_time()
        for _ in range(args.accumulation):
            one()
        spent.append(time.process_time() - start)

    cases = {
        "floor": (None, None),
        "built each time": (network, None),
        "built once": (network, banks),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    outside: dict[str, list[float]] = {name: [] for name in cases}
    for round_number in range(-1, args.rounds):  # round -1 warms up and is not counted
        for name, (adapter, bank) in cases.items():
            start = time.process_time()
            optimizer_step(adapter, bank, batches)
            if round_number >= 0:
                times[name].append(time.process_time() - start)
                outside[name].append(times[name][-1] - spent[-1])
        print(f"round {round_number + 1}/{args.rounds} {times}", file=sys.stderr, flush=True)
    return {
        name: {
            "rounds": len(values),
            "cpu_seconds": round(median(values), 3),
            "of_it_once": round(median(outside[name]), 3),
            **ratios(values, times["floor"]),
        }
        for name, values in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latents", type=int, default=16)
    parser.add_argument("--accumulation", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--json", type=Path, nargs="?", help="file to write the printed result into"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    result = {
        "what": f"SD1.5 U-Net, LoHa 8/4, {args.latents}x{args.latents} latents, batch 1, fp32, "
        f"one thread, {args.accumulation} batches per optimizer step",
        **environment("torch", "diffusers"),
        "kernels": count_kernels(dict(CASES["loha_8_4"].options), args.latents),
        "cases": measure(args),
    }
    print(json.dumps(result, indent=1))
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()

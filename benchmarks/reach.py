"""Measure opening, checking, injecting and merging an SD1.5 adapter against lower bounds.

    python benchmarks/reach.py --json benchmarks/results/reach_cpu.json

Opening uses an adapter of 120 MB. ``open_adapter`` maps the file and checks its header and every
number in it. ``safetensors.torch.load_file`` only maps it, so reading its tensors once is measured
too. Injecting and merging use LoHa 8/4 and LoCon 16/8 over SD1.5's U-Net with random weights; the
lower bound is to change every adapted weight once, ``w.add_(c)``. For merging, the matrix products
alone are measured too, written some rows at a time into one small buffer. Figures are medians of
interleaved rounds on one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from contestants import CASES
from measuring import Progress, environment, ratios, write_json
from safetensors.torch import load_file
from unets import make_unet

from lycoris_ext.formats import AdapterState, load_adapter, open_adapter, save_adapter
from lycoris_ext.functional import merge
from lycoris_ext.network import Network, NetworkConfig, build_network, load_network


@dataclass(frozen=True)
class Case:
    """A function that is measured, and one that undoes its effect afterwards."""

    run: Callable[[], object]
    undo: Callable[[], object] = lambda: None


def opening_cases(folder: Path) -> dict[str, Case]:
    """Write an adapter of 120 MB into a folder and return the ways to open it.

    It is a LoRA in half precision over SD1.5's U-Net.
    """
    path = folder / "adapter.safetensors"
    unet = make_unet("sd15", "meta")
    config = NetworkConfig(algo="lora", network_dim=141, preset="attn-mlp")
    network = build_network({"unet": unet}, config)
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for key, layer in network.layers.items():
        tensors[f"{key}.alpha"] = torch.tensor(1.0).half()
        for name, shape in layer.plan.shapes().items():
            tensors[f"{key}.{name}"] = torch.randn(shape, generator=generator).half()
    save_adapter(path, AdapterState(tensors))
    print(f"{len(tensors)} tensors, {path.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return {
        "load_file": Case(lambda: load_file(path)),
        "load_file, read once": Case(lambda: [t.amax() for t in load_file(path).values()]),
        "load_file, copied": Case(lambda: [t.clone() for t in load_file(path).values()]),
        "ours: open and check": Case(lambda: open_adapter(path)),
        "ours: load and check, own copy": Case(lambda: load_adapter(path)),
    }


def merging_cases(folder: Path) -> dict[str, Case]:
    """Build adapters over SD1.5's U-Net and return the ways to inject and merge them."""
    unet = make_unet("sd15")

    def clear() -> None:
        for module in unet.modules():
            module.__dict__.pop("forward", None)  # removes a network that has no name any more

    networks: dict[str, Network] = {}
    for name, case in (("loha 8/4", "loha_8_4"), ("locon 16/8", "locon_16_8")):
        config = NetworkConfig(**CASES[case].options)
        networks[name] = build_network({"unet": unet}, config)
        for parameter in networks[name].parameters():
            torch.nn.init.normal_(parameter, std=0.02)
        save_adapter(folder / config.algo, networks[name].adapter_state())
    adapted = [site.module.weight.data for site in networks["loha 8/4"].sites.values()]

    def touch() -> None:
        for weight in adapted:
            weight.add_(1e-9)

    cases = {"touch every weight": Case(touch)}
    for name, network in networks.items():
        path = folder / name.partition(" ")[0]
        cases |= {
            f"inject {name}": Case(network.inject, network.remove),
            f"read the file and inject {name}": Case(
                lambda path=path: load_network(path, {"unet": unet}).inject(), clear
            ),
            # Merged at a tiny strength and never undone: the weights are random anyway.
            f"read the file and merge {name}": Case(
                lambda path=path: load_network(path, {"unet": unet}).merge(1e-6, keep=False)
            ),
            f"the products of {name} alone": Case(lambda network=network: multiply(network)),
            f"merge {name}": Case(network.merge, network.unmerge),
            f"merge {name} for good": Case(
                lambda network=network: network.merge(1e-6, keep=False),
                lambda network=network: network.forget_merge(),
            ),
        }
    return cases


@torch.no_grad()
def multiply(network: Network) -> None:
    """Compute all matrix products of a merge into a small buffer, without touching the weights."""
    buffer = torch.empty(2 * merge._NUMBERS)
    for layer in network.layers.values():
        for up, down in merge._pairs(layer.delta()) or []:
            step = max(1, merge._NUMBERS // down.shape[1])
            for rows in up.split(step):
                out = buffer[: len(rows) * down.shape[1]].view(len(rows), -1)
                torch.mm(rows, down, out=out)


def measure(cases: dict[str, Case], rounds: int) -> dict[str, list[float]]:
    """Measure the seconds of each case; each round measures all cases in turn."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    progress = Progress("reach", dict.fromkeys(cases, 1 + rounds))
    for number in range(-1, rounds):  # round -1 warms up and is not counted
        for name, case in cases.items():
            start = time.perf_counter()
            result = case.run()
            if number >= 0:
                times[name].append(time.perf_counter() - start)
            del result
            case.undo()
            progress.did(name)
    progress.close()
    return times


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return for each case the median time and the ratios to the first case of the same round."""
    (floor, *_) = times.values()
    return {
        name: {"milliseconds": round(1000 * median(values), 2), **ratios(values, floor)}
        for name, values in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--opening-rounds", type=int, default=31)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = {
            "opening": summary(measure(opening_cases(folder), args.opening_rounds)),
            "putting_in": summary(measure(merging_cases(folder), args.rounds)),
        }
    result = {
        "what": "opening an adapter of 120 MB; adapters over SD1.5's U-Net, fp32, one thread; "
        '"for good" keeps no copy of the weights; "the products alone" are what a merge '
        "multiplies, written into the cache instead of the weights",
        **environment("torch", "safetensors", "diffusers"),
        **report,
    }
    print(json.dumps(result, indent=1))
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()

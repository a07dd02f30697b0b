"""Time and memory of one training step on SD1.5's U-Net, ours and the peers', in one run.

    python benchmarks/step_time.py --json benchmarks/results/step_time_cpu.json

The floor is the same frozen U-Net, forward and backward with the gradient to its input, without
optimizer. Every implementation adapts the same layers of the same weights and its step includes
building its factors. One thread, process CPU time, interleaved rounds; the figure is the median of
the per-round ratios to the floor of the same round. Memory is the peak resident set of one step
above the resting state, each implementation in a fresh process.

Peers are slow (tens of seconds a step), so they take part in the first rounds only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles

import torch
from diffusers import UNet2DConditionModel

from lycoris_ext.network import NetworkConfig, build_network
from lycoris_ext.training.memory import keep_freed_memory

SD15 = {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64}
LOHA = {"network_dim": 8, "conv_dim": 4}
LOCON = {"network_dim": 16, "conv_dim": 8}
Step = Callable[[], None]


def make_unet(weights: dict[str, torch.Tensor] | None = None) -> UNet2DConditionModel:
    """SD1.5's U-Net with random weights; several instances can share one set of them."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15)
    if weights is None:
        unet.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(0)
        for parameter in unet.parameters():
            parameter.data.normal_(0, 0.02, generator=generator)
    else:
        unet.load_state_dict(weights, assign=True)
    return unet.requires_grad_(False).train()


def make_step(unet: UNet2DConditionModel, latents: int, parameters: list[torch.Tensor]) -> Step:
    """Forward, and backward to the input and to the adapter's parameters."""
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(1, 4, latents, latents, generator=generator).requires_grad_()
    text = torch.randn(1, 77, 768, generator=generator).requires_grad_()
    timestep = torch.tensor([500])

    def step() -> None:
        unet(noisy, timestep, encoder_hidden_states=text).sample.square().mean().backward()
        for tensor in (noisy, text, *parameters):
            tensor.grad = None

    return step


def ours(unet: UNet2DConditionModel, latents: int, algo: str, dims: dict[str, int]) -> Step:
    network = build_network({"unet": unet}, NetworkConfig(algo=algo, **dims))
    parameters = _perturbed(network)
    plain = make_step(unet, latents, parameters)

    def step() -> None:
        with network.injected():
            plain()

    return step


def lycoris(unet: UNet2DConditionModel, latents: int, algo: str, dims: dict[str, int]) -> Step:
    """lycoris-lora on the layers that our preset takes (its own adds TimestepEmbedding twice)."""
    from lycoris import LycorisNetwork, create_lycoris

    LycorisNetwork.apply_preset(
        {
            "enable_conv": True,
            "target_module": ["Transformer2DModel", "ResnetBlock2D", "Downsample2D", "Upsample2D"],
            "target_name": ["conv_in", "conv_out", "time_embedding.linear_.*"],
        }
    )
    rank, conv = dims["network_dim"], dims["conv_dim"]
    network = create_lycoris(
        unet, 1.0, linear_dim=rank, linear_alpha=1.0, conv_dim=conv, conv_alpha=1.0, algo=algo
    )
    network.apply_to()
    assert len(network.loras) == 282, len(network.loras)
    return make_step(unet, latents, _perturbed(network))


def peft(unet: UNet2DConditionModel, latents: int, algo: str, dims: dict[str, int]) -> Step:
    from peft import LoHaConfig, LoraConfig, inject_adapter_in_model

    network = build_network({"unet": unet}, NetworkConfig(algo=algo, **dims))
    names = [site.path for site in network.sites.values()]
    pattern = {
        site.path: dims["conv_dim"] for site in network.sites.values() if site.spec.is_spatial
    }
    kind = LoHaConfig if algo == "loha" else LoraConfig
    extra = {"alpha": 1} if algo == "loha" else {"lora_alpha": 1}
    config = kind(r=dims["network_dim"], target_modules=names, rank_pattern=pattern, **extra)
    inject_adapter_in_model(config, unet)
    trained = [p for n, p in unet.named_parameters() if "lora_" in n or "hada_" in n]
    for parameter in trained:
        parameter.requires_grad_(True)
        torch.nn.init.normal_(parameter, std=0.02)
    return make_step(unet, latents, trained)


CASES: dict[str, tuple[Callable[..., Step] | None, str, dict[str, int]]] = {
    "floor": (None, "", {}),
    "ours loha 8/4": (ours, "loha", LOHA),
    "ours locon 16/8": (ours, "locon", LOCON),
    "lycoris-lora loha 8/4": (lycoris, "loha", LOHA),
    "peft loha 8/4": (peft, "loha", LOHA),
}
PEERS = ("lycoris-lora", "peft")


def build_case(name: str, unet: UNet2DConditionModel, latents: int) -> Step:
    maker, algo, dims = CASES[name]
    return make_step(unet, latents, []) if maker is None else maker(unet, latents, algo, dims)


def _perturbed(network: torch.nn.Module) -> list[torch.Tensor]:
    """A fresh adapter is zero, and zeros can be faster than numbers."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return list(network.parameters())


def measure_times(args: argparse.Namespace) -> dict[str, list[float]]:
    """Process CPU seconds of each step, a list per case; all cases of a round side by side."""
    unet = make_unet()
    weights = unet.state_dict()
    steps = {}
    for name in args.cases:
        own = unet if name.startswith(("floor", "ours")) else make_unet(weights)
        steps[name] = build_case(name, own, args.latents)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(-1, args.rounds):  # round -1 warms up and is not counted
        for name, step in steps.items():
            if name.startswith(PEERS) and round_number >= args.peer_rounds:
                continue
            start = time.process_time()
            step()
            if round_number >= 0:
                times[name].append(time.process_time() - start)
        done = {name: f"{values[-1]:.2f}" for name, values in times.items() if values}
        print(f"round {round_number + 1}/{args.rounds} {done}", file=sys.stderr, flush=True)
    return times


def measure_memory(name: str, latents: int) -> float:
    """Peak resident megabytes of the second step above the state before it (Linux)."""
    step = build_case(name, make_unet(), latents)
    step()
    ctypes.CDLL(None).malloc_trim(0)  # what the first step freed is no resting state
    rest = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the present
    step()
    return _resident("VmHWM") - rest


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, float | int]]:
    report: dict[str, dict[str, float | int]] = {}
    for name, values in times.items():
        if not values:
            continue
        report[name] = {
            "rounds": len(values),
            "cpu_seconds": round(median(values), 3),
            **ratios(values, times["floor"]),
        }
    return report


def ratios(values: list[float], floor: list[float]) -> dict[str, float]:
    """Median and quartiles of the ratios to the floor of the same round; peers have fewer."""
    each = [value / least for value, least in zip(values, floor, strict=False)]
    low, _middle, high = quantiles(each, n=4) if len(each) > 1 else each * 3
    return {
        "ratio": round(median(each), 3),
        "ratio_q1": round(low, 3),
        "ratio_q3": round(high, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latents", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peer-rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, nargs="?", help="file for what is printed in any case")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory_of:
        print(measure_memory(args.memory_of, args.latents))
        return
    keep_freed_memory()  # as training does; for every case alike
    report = summary(measure_times(args))
    if not args.no_memory:
        for name in report:
            command = [
                sys.executable,
                __file__,
                "--latents",
                str(args.latents),
                "--memory-of",
                name,
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            report[name]["peak_mb_above_rest"] = round(float(done.stdout.split()[-1]), 1)
    result = {
        "what": f"SD1.5 U-Net, {args.latents}x{args.latents} latents, batch 1, fp32, one thread",
        "machine": {"processor": platform.processor() or platform.machine(), "cpus": _cpu_name()},
        "versions": {
            name: version(name) for name in ("torch", "diffusers", "lycoris-lora", "peft")
        },
        "cases": report,
    }
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.machine()
    lines = info.read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()

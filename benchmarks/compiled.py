"""Measure torch.compile(fullgraph=True) over one transformer block of SD1.5 with an adapter.

    python benchmarks/compiled.py --json benchmarks/results/compiled_cpu.json

It times forward and backward of the frozen and the adapted block, eager and compiled, in
interleaved rounds, as process CPU time on one thread. It needs a C++ compiler, as torch.compile
does on a CPU.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
from contestants import CASES, adapt, unavailable
from measuring import Progress, environment, ratios, write_json
from torch import nn
from unets import MODELS, TEXT_TOKENS, Step, make_unet, twin

BLOCKS = {
    "sd15": "down_blocks.1.attentions.0.transformer_blocks.0",
    "tiny": "down_blocks.0.attentions.0.transformer_blocks.0",
}


def block_step(
    unet: nn.Module,
    model: str,
    case: str,
    *,
    tokens: int,
    compiled: bool,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Step:
    """Return a function that does one forward and backward of a transformer block.

    Args:
        unet: the U-Net; its modules are copied before the adapter is injected.
        model: its key in `MODELS`.
        case: the adapter, a key of `CASES`; "" for the frozen block.
        tokens: number of positions of the block's input.
        compiled: whether the block is compiled as one graph; it raises if the graph breaks.
        autocast: makes the autocast context of the forward.
    """
    unet = twin(unet)
    parameters = adapt("ours", unet, case) if case else []
    block = unet.get_submodule(BLOCKS[model])
    weight = block.attn2.to_k.weight
    width = block.attn1.to_q.weight.shape[1]
    options = {"device": weight.device, "dtype": weight.dtype}
    x = torch.randn(1, tokens, width, **options).requires_grad_()
    text = torch.randn(1, TEXT_TOKENS, weight.shape[1], **options).requires_grad_()
    run = torch.compile(block, fullgraph=True) if compiled else block

    def step() -> None:
        with autocast():
            out = run(x, encoder_hidden_states=text)
        out.float().square().mean().backward()
        for tensor in (x, text, *parameters):
            tensor.grad = None

    return step


def measure(model: str, tokens: int, cases: list[str], rounds: int) -> list[dict[str, Any]]:
    """Time all steps in interleaved rounds; return one row per case, eager and compiled."""
    unet = make_unet(model, share_weights=True)
    steps: dict[tuple[str, bool], Step] = {}
    first: dict[tuple[str, bool], float] = {}
    for case in ["", *cases]:
        for compiled in (False, True):
            key = (case, compiled)
            steps[key] = block_step(unet, model, case, tokens=tokens, compiled=compiled)
            start = time.perf_counter()
            steps[key]()
            first[key] = time.perf_counter() - start
            print(f"{case or 'floor'} {compiled=}: first step {first[key]:.1f} s", flush=True)
    times: dict[tuple[str, bool], list[float]] = {key: [] for key in steps}
    progress = Progress("one block", dict.fromkeys(steps, rounds))
    for _ in range(rounds):
        for key, step in steps.items():
            start = time.process_time()
            step()
            times[key].append(time.process_time() - start)
            progress.did(key)
    progress.close()
    return [
        {
            "case": case,
            "by": "ours" if case else "floor",
            "compiled": compiled,
            "rounds": rounds,
            "milliseconds": round(1000 * median(values), 2),
            **ratios(values, times["", False]),
            "first_step_seconds": round(first[case, compiled], 1),
        }
        for (case, compiled), values in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sd15", choices=list(BLOCKS))
    parser.add_argument("--tokens", type=int, default=256, help="positions of the block's input")
    parser.add_argument("--case", nargs="+", default=["loha_8_4"], choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--json", type=Path, help="file to write the printed result into")
    args = parser.parse_args()
    if not any(shutil.which(name) for name in ("g++", "clang++", "cl")):
        raise SystemExit("no C++ compiler: torch.compile cannot be measured on this CPU")
    torch.set_num_threads(1)
    cases = [case for case in args.case if not unavailable("ours", case)]
    result = {
        "what": "forward and backward of one transformer block, fp32, one thread",
        "block": f"{MODELS[args.model].title}, {BLOCKS[args.model]}, {args.tokens} tokens",
        **environment("torch", "diffusers"),
        "rows": measure(args.model, args.tokens, cases, args.rounds),
    }
    if args.json:
        write_json(args.json, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

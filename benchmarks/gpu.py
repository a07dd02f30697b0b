"""Run all benchmarks that need a GPU, within a time limit; benchmarks/gpu.sh starts it.

    benchmarks/gpu.sh --json benchmarks/results/gpu_h200.json
    python benchmarks/gpu.py --device cpu --small        # the same code, on any machine

It measures training steps of SD1.5 at 512 pixels and SDXL at 1024, in bf16, at batch 1 and 4, with
and without gradient checkpointing: the frozen model (the floor), our library and the others. Then
come optimizers, eager steps against CUDA graphs, and torch.compile. The most important figures come
first. Each has a slice of time, and those for which no time is left are listed in the result. The
result file is rewritten after each figure.

A step is a forward and backward under autocast, as in training, without the optimizer. Steps are
timed by device events after a warm-up. Figures are medians, ratios are those to the floor.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from compiled import block_step
from contestants import CASES, PEERS, adapt, forced_path, pairs, unavailable
from measuring import PACKAGES, environment, write_json
from torch import Tensor
from unets import Step, make_step, make_unet, twin

from lycoris_ext.training.optimizers import OptimizerConfig, build_optimizer

PARTS = ("steps", "optimizers", "graphs", "compile")
FIRST = ("loha_8_4", "lora_8")
"""The cases that are measured first, in case there is no time for all."""


def _failures() -> tuple[type[Exception], ...]:
    """Return the errors that are written into the result, so that the other figures follow."""
    kinds = [RuntimeError, ImportError, AttributeError, AssertionError, TypeError, ValueError]
    kinds += [LookupError]
    if find_spec("triton"):
        from triton.errors import TritonError  # derives from Exception itself

        kinds.append(TritonError)
    return tuple(kinds)


FAILURES = _failures()


@dataclass(frozen=True)
class Size:
    """A model and the picture size at which it is measured."""

    model: str
    latents: int
    tokens: int  # positions in the transformer block that is compiled

    @property
    def pixels(self) -> int:
        return 8 * self.latents


SIZES = (Size("sd15", 64, 1024), Size("sdxl", 128, 4096))
SMALL = (Size("tiny", 8, 64),)


@dataclass
class Run:
    """The state of the benchmark: device, time limit and the figures so far.

    Args:
        device: the torch device.
        deadline: time.monotonic() at which the time limit ends.
        slice_seconds: seconds of timed steps for each figure.
        most_steps: most timed steps for each figure.
        path: file of the result, or None.
        result: the result so far.
        floors: setting -> milliseconds of the frozen model.
    """

    device: torch.device
    deadline: float
    slice_seconds: float
    most_steps: int
    path: Path | None
    result: dict[str, Any]
    floors: dict[tuple[Any, ...], float] = field(default_factory=dict)

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    def autocast(self, cache: bool = True) -> Any:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=cache)

    def note(self, row: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
        """Measure one figure, or record why it could not be measured, and write the result.

        Args:
            row: describes the figure.
            measure: returns the measured values.
        """
        if time.monotonic() + self.slice_seconds > self.deadline:
            found: dict[str, Any] = {"skipped": "no time was left"}
        else:
            try:
                found = measure()
            except FAILURES as error:
                text = str(error).strip() or "no message"
                found = {"failed": f"{type(error).__name__}: {text.splitlines()[0][:300]}"}
        row = {**row, **found}
        self.result["rows"].append(row)
        if self.path:
            write_json(self.path, self.result)
        left = self.deadline - time.monotonic()
        print(f"[{left:4.0f} s left] {json.dumps(row)}", file=sys.stderr, flush=True)

    def milliseconds(self, step: Step, warm_up: int = 2) -> dict[str, Any]:
        """Time a step as often as the slice allows; return median and quartiles in ms."""
        for _ in range(warm_up):
            start = time.perf_counter()
            step()
            self.synchronize()
            usual = time.perf_counter() - start
        count = max(3, min(self.most_steps, int(self.slice_seconds / max(usual, 1e-6))))
        values = self._device_times(step, count) if self.on_cuda else _host_times(step, count)
        low, _middle, high = quantiles(values, n=4)
        return {
            "steps": count,
            "ms": round(median(values), 3),
            "ms_q1": round(low, 3),
            "ms_q3": round(high, 3),
        }

    def _device_times(self, step: Step, count: int) -> list[float]:
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        marks[0].record()
        for mark in marks[1:]:
            step()
            mark.record()
        self.synchronize()
        return [start.elapsed_time(end) for start, end in pairwise(marks)]

    def peak(self, step: Step) -> dict[str, float]:
        """Return a step's peak GPU memory in MB, in all and above that held between steps."""
        if not self.on_cuda:
            return {}
        rest = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        self.synchronize()
        most = torch.cuda.max_memory_allocated()
        return {
            "peak_mb": round(most / 2**20, 1),
            "peak_mb_above_rest": round((most - rest) / 2**20, 1),
        }

    def synchronize(self) -> None:
        if self.on_cuda:
            torch.cuda.synchronize()

    def tidy(self) -> None:
        gc.collect()
        if self.on_cuda:
            torch.cuda.empty_cache()

    def ratio(self, key: tuple[Any, ...], by: str, found: dict[str, Any]) -> dict[str, Any]:
        """Add the ratio to the floor to some figures, if the floor is known.

        Args:
            key: the setting, which figures and floor have in common.
            by: the contestant; the figures of "floor" become the floor of the setting.
            found: the figures, with "ms".
        """
        if by == "floor":
            self.floors.setdefault(key, found["ms"])
        if key in self.floors:
            found["ratio"] = round(found["ms"] / self.floors[key], 3)
        return found


def _host_times(step: Step, count: int) -> list[float]:
    values = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        values.append(1000 * (time.perf_counter() - start))
    return values


def steps_of(run: Run, size: Size, base: Any, case: str, by: str) -> None:
    """Measure one library's steps at every batch size, with and without gradient checkpointing."""
    common = {"part": "steps", "model": size.model, "pixels": size.pixels, "case": case, "by": by}
    if why := by != "floor" and unavailable(by, case):
        run.note(common, lambda: {"skipped": why})
        return
    built: list[tuple[Any, list[Tensor]]] = []  # filled when the first figure is measured

    def measure(batch: int, checkpointing: bool) -> dict[str, Any]:
        if not built:
            unet = twin(base)
            built.append((unet, adapt(by, unet, case) if case else []))
        unet, parameters = built[0]
        if checkpointing:
            unet.enable_gradient_checkpointing()
        else:
            unet.disable_gradient_checkpointing()
        plain = make_step(unet, size.model, size.latents, batch, parameters, run.autocast)

        def step() -> None:
            with forced_path(by):
                plain()

        figures = run.milliseconds(step) | run.peak(step)
        return run.ratio((size.model, batch, checkpointing), by, figures)

    for batch in (1, 4):
        for checkpointing in (False, True):
            row = {**common, "batch": batch, "checkpointing": checkpointing}
            run.note(row, partial(measure, batch, checkpointing))
    built.clear()
    run.tidy()


def optimizers_of(run: Run, size: Size, base: Any) -> None:
    """Measure optimizer.step() over the parameters of a LoHa, and the size of its state."""

    def build(name: str) -> tuple[torch.optim.Optimizer, list[Tensor]]:
        parameters = adapt("ours", twin(base), FIRST[0])
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        group = {"params": parameters, "lr": 1e-4, "name": "unet"}
        if name == "AdamW, fused":
            return torch.optim.AdamW([group], fused=True), parameters
        return build_optimizer([group], OptimizerConfig(optimizer_type=name)), parameters

    def measure(name: str) -> dict[str, Any]:
        optimizer, parameters = build(name)
        figures = run.milliseconds(optimizer.step)
        held = [v for state in optimizer.state.values() for v in state.values()]
        megabytes = sum(v.numel() * v.element_size() for v in held if torch.is_tensor(v)) / 2**20
        numbers = sum(parameter.numel() for parameter in parameters)
        return figures | {"state_mb": round(megabytes, 1), "parameters": numbers}

    for name in ("AdamW", "AdamW, fused", "AdamW8bit"):
        row = {"part": "optimizers", "model": size.model, "case": FIRST[0], "by": name}
        run.note(row, partial(measure, name))
        run.tidy()


def graphs_of(run: Run, size: Size, base: Any, batch: int = 1) -> None:
    """Measure the step replayed as a CUDA graph, which shows its time without launch overhead."""

    def measure(case: str) -> dict[str, Any]:
        if not run.on_cuda:
            return {"skipped": "CUDA graphs need CUDA"}
        unet = twin(base)
        parameters = adapt("ours", unet, case) if case else []
        autocast = partial(run.autocast, cache=False)  # cached casts would outlive the capture
        step = make_step(unet, size.model, size.latents, batch, parameters, autocast)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return run.ratio((size.model, batch, False), "", run.milliseconds(graph.replay))

    for case in ("", *FIRST):
        row = {"part": "graphs", "model": size.model, "pixels": size.pixels, "batch": batch}
        run.note({**row, "case": case, "by": "ours" if case else "floor"}, partial(measure, case))
        run.tidy()


def compile_of(run: Run, size: Size, base: Any) -> None:
    """Measure one transformer block, eager and compiled as one graph."""

    def measure(case: str, compiled: bool) -> dict[str, Any]:
        step = block_step(
            base, size.model, case, tokens=size.tokens, compiled=compiled, autocast=run.autocast
        )
        start = time.perf_counter()
        step()
        run.synchronize()
        first = round(time.perf_counter() - start, 1)
        key = ("block", size.model)
        by = "" if case or compiled else "floor"
        return run.ratio(key, by, run.milliseconds(step)) | {"first_step_seconds": first}

    for case in ("", FIRST[0]):
        for compiled in (False, True):
            row = {"part": "compile", "model": size.model, "tokens": size.tokens, "case": case}
            row |= {"by": "ours" if case else "floor", "compiled": compiled}
            run.note(row, partial(measure, case, compiled))


def jobs(sizes: tuple[Size, ...], parts: list[str]) -> Iterator[tuple[str, Size, tuple[str, str]]]:
    """Yield all (part, size, (case, contestant)) to measure, the most important first."""
    peers = list(pairs(list(FIRST), list(PEERS)))
    others = [case for case in CASES if case not in FIRST]
    ours = [(case, "ours") for case in FIRST]
    plan = [
        ("steps", [("", "floor"), *ours]),
        ("steps", peers),
        ("graphs", [("", "")]),
        ("optimizers", [("", "")]),
        ("steps", list(pairs(others, ["ours"]))),
        ("compile", [("", "")]),
        ("steps", list(pairs(others, list(PEERS)))),
        ("steps", list(pairs(others, ["ours, chain", "ours, dense"]))),
        ("steps", [("", "floor")]),  # measured again, to see if the device has slowed down
    ]
    for part, keys in plan:
        for size in sizes:
            for key in keys:
                if part in parts:
                    yield part, size, key


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="a tiny U-Net and few steps")
    parser.add_argument("--part", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument(
        "--seconds", type=float, default=540.0, help="time limit of the whole benchmark"
    )
    parser.add_argument(
        "--slice", type=float, default=2.0, help="seconds of timed steps per figure"
    )
    parser.add_argument("--json", type=Path, help="file of the result, rewritten after each figure")
    args = parser.parse_args()
    deadline = time.monotonic() + args.seconds
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            f"torch {torch.__version__} finds no CUDA device; see --device cpu --small"
        )
    run = Run(
        torch.device(args.device),
        deadline,
        0.0 if args.small else args.slice,
        3 if args.small else 20,
        args.json,
        {
            "what": "training steps without optimizer, bf16 under autocast; ratios to the floor",
            **environment(*PACKAGES),
            "device": _device_facts(args.device),
            "cases": {name: case.options for name, case in CASES.items()},
            "rows": [],
        },
    )
    bases: dict[str, Any] = {}
    for part, size, (case, by) in jobs(SMALL if args.small else SIZES, args.part):
        if size.model not in bases:
            bases[size.model] = make_unet(size.model, args.device, torch.bfloat16)
        base = bases[size.model]
        if part == "steps":
            steps_of(run, size, base, case, by)
        else:
            {"optimizers": optimizers_of, "graphs": graphs_of, "compile": compile_of}[part](
                run, size, base
            )
    print(json.dumps(run.result, indent=1))
    failed = [row for row in run.result["rows"] if "failed" in row and row["by"] not in PEERS]
    return 1 if failed else 0


def _device_facts(device: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"kind": device}
    if device == "cuda":
        facts |= {
            "name": torch.cuda.get_device_name(),
            "memory_gb": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
        }
    if find_spec("lycoris"):
        from lycoris.kernels import available_backends

        facts["lycoris_kernels"] = [str(name) for name in available_backends()]
    return facts


if __name__ == "__main__":
    sys.exit(main())

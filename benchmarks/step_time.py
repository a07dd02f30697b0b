"""Time and memory of one training step, ours and the peers', in one run on the CPU.

    python benchmarks/step_time.py --json benchmarks/results/step_time_sd15_16.json
    python benchmarks/step_time.py --case loha_8_4 --model sd15 --latents 16 --batch 1 --rounds 15

The floor is the same frozen U-Net, forward and backward with the gradient to its inputs, without
optimizer. Every contestant adapts the same layers of the same weights and its step includes
building its factors. One thread, process CPU time, interleaved rounds; the figure is the median of
the per-round ratios to the floor of the same round. Memory is what one step takes at its peak above
the resting state, each contestant in a fresh process that gives freed memory back.

Peers are slow (tens of seconds a step), so they take part in the first rounds only. What needs more
memory than the machine has is left out and named in the result. The result is written after each
model, size and batch; rows of this machine and these versions that the file holds already stay,
unless they were measured again.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from os import environ
from pathlib import Path
from statistics import median
from typing import Any

import torch
from contestants import (
    CASES,
    CONTESTANTS,
    PEERS,
    adapt,
    forced_path,
    pairs,
    unavailable,
    use_our_products,
)
from measuring import PACKAGES, Progress, environment, ratios, write_json
from unets import MODELS, Step, make_step, make_unet, twin

from lycoris_ext.training.memory import is_out_of_memory, keep_freed_memory

FLOOR = ("", "floor")
OUR_PRODUCTS = ("", "floor, our products")
"""The same frozen model, its Linear and Conv layers computed as ours computes those it adapts."""
Key = tuple[str, str]
"""(case, contestant)"""
Memory = float | str
"""Megabytes, or why there is no figure."""
NO_MEMORY = 75
"""Exit status of a process that measures memory and finds too little of it."""
TOO_LITTLE = "the machine has too little memory"


@dataclass(frozen=True)
class Setting:
    """What all contestants of a comparison have in common."""

    model: str
    latents: int
    batch: int
    share_weights: bool

    @property
    def title(self) -> str:
        return f"{MODELS[self.model].title} {self.latents}x{self.latents} batch {self.batch}"

    def build(self, key: Key, unet: Any) -> Step:
        """The step of one contestant, whose modules must be its own."""
        case, by = key
        parameters = adapt(by, unet, case) if case else []
        if key == OUR_PRODUCTS:
            use_our_products(unet)
        plain = make_step(unet, self.model, self.latents, self.batch, parameters)

        def step() -> None:
            with forced_path(by):
                plain()

        return step


def measure_times(
    setting: Setting, keys: list[Key], rounds: int, peer_rounds: int
) -> dict[Key, list[float] | str]:
    """Process CPU seconds of each step, all contestants of a round side by side.

    Returns:
        A list per contestant, or why it has none.
    """
    unet = make_unet(setting.model, share_weights=setting.share_weights)
    times: dict[Key, list[float] | str] = {}
    steps: dict[Key, Step] = {}
    # One round more than asked: the first warms up and is not counted.
    planned = {key: 1 + (peer_rounds if key[1] in PEERS else rounds) for key in keys}
    progress = Progress(setting.title, planned)
    for number in range(1 + rounds):
        for key in keys:
            if number >= planned[key] or isinstance(times.get(key), str):
                continue
            try:
                if not number:
                    steps[key] = setting.build(key, twin(unet))
                start = time.process_time()
                steps[key]()
                spent = time.process_time() - start
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                times[key] = TOO_LITTLE
                steps.pop(key, None)
                progress.drop(key)
                continue
            values = times.setdefault(key, [])
            if number:
                values.append(spent)
            progress.did(key)
    progress.close()
    return times


# Of glibc: every block from 64 KB is a mapping of its own, which goes back when it is freed. So the
# resident memory is what the step asked for, without the gaps that a heap keeps between its blocks.
_NO_GAPS = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def measure_memory(setting: Setting, key: Key) -> float:
    """Peak resident megabytes of the second step above the state before it (Linux)."""
    step = setting.build(key, make_unet(setting.model, share_weights=setting.share_weights))
    step()
    ctypes.CDLL(None).malloc_trim(0)  # what the first step freed is no resting state
    rest = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is now
    step()
    return _resident("VmHWM") - rest


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def memory_of_all(settings: list[Setting], keys: list[Key]) -> dict[tuple[Setting, Key], Memory]:
    """``measure_memory`` of everything, each in a fresh process, before this one holds anything."""
    progress = Progress("memory", dict.fromkeys(product(settings, keys), 1))
    memory: dict[tuple[Setting, Key], Memory] = {}
    for setting, key in product(settings, keys):
        command = [sys.executable, __file__, "--memory-of", *key, "--model", setting.model]
        command += ["--latents", str(setting.latents), "--batch", str(setting.batch)]
        command += ["--share-weights" if setting.share_weights else "--no-share-weights"]
        done = subprocess.run(command, capture_output=True, text=True, env=environ | _NO_GAPS)
        if done.returncode not in (0, NO_MEMORY):
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
        memory[setting, key] = (
            TOO_LITTLE if done.returncode else round(float(done.stdout.split()[-1]), 1)
        )
        progress.did((setting, key))
    progress.close()
    return memory


def _limit_memory() -> None:
    """Let an allocation fail that the machine cannot serve, before the system kills a process."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (int(free * 0.95), resource.RLIM_INFINITY))


def rows(
    setting: Setting,
    times: dict[Key, list[float] | str],
    memory: dict[tuple[Setting, Key], Memory],
) -> Iterator[dict[str, Any]]:
    """One row of the result per contestant."""
    floor = times[FLOOR]
    if isinstance(floor, str):
        raise SystemExit(f"{setting.title}: {floor} for the frozen model itself")
    for (case, by), values in times.items():
        row: dict[str, Any] = {**asdict(setting), "case": case, "by": by}
        if isinstance(values, str):
            yield {**row, "skipped": values}
            continue
        row |= {"rounds": len(values), "cpu_seconds": round(median(values), 3)}
        row |= ratios(values, floor)
        if (setting, (case, by)) in memory:
            row["peak_mb_above_rest"] = memory[setting, (case, by)]
        yield row


def beside_earlier(result: dict[str, Any], path: Path) -> dict[str, Any]:
    """The result with the rows that the file has beyond it, if they are comparable."""
    if not path.exists():
        return result
    earlier = json.loads(path.read_text(encoding="utf-8"))
    if any(earlier[name] != result[name] for name in ("what", "machine", "versions")):
        return result

    def joined(name: str, *key: str) -> list[dict[str, Any]]:
        rows = [*earlier[name], *result[name]]
        return list({tuple(row[k] for k in key): row for row in rows}.values())

    setting = ("model", "latents", "batch", "share_weights")
    return {
        **result,
        "cases": earlier["cases"] | result["cases"],
        "unavailable": joined("unavailable", "case", "by"),
        "rows": sorted(
            joined("rows", *setting, "case", "by"),
            key=lambda row: [row[name] for name in setting],
        ),
    }


def _count(text: str) -> int:
    """At least one."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["sd15"], choices=list(MODELS))
    parser.add_argument("--latents", type=int, nargs="+", default=[16], help="height and width")
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--case", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--by", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS)
    parser.add_argument("--rounds", type=_count, default=15)
    parser.add_argument("--peer-rounds", type=_count, default=3)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument(
        "--share-weights",
        action=argparse.BooleanOptionalAction,
        help="all frozen weights in one buffer (default: for sdxl)",
    )
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="file for what is printed in any case")
    return parser.parse_args()


def main() -> None:
    args = parsed_arguments()
    torch.set_num_threads(1)
    settings = []
    for model, latents, batch in product(args.model, args.latents, args.batch):
        shared = args.share_weights
        shared = MODELS[model].share_weights if shared is None else shared
        settings.append(Setting(model, latents, batch, shared))
    if args.memory_of:
        raise SystemExit(print_memory(settings[0], tuple(args.memory_of)))
    wanted = list(pairs(args.case, args.by))
    result: dict[str, Any] = {
        "what": "one training step, fp32, one thread, process CPU seconds; ratios to the floor",
        **environment(*PACKAGES),
        "cases": {name: CASES[name].options for name in args.case},
        "unavailable": [
            {"case": case, "by": by, "why": why}
            for case, by in wanted
            if (why := unavailable(by, case))
        ],
        "rows": [],
    }
    floors = [FLOOR, OUR_PRODUCTS] if "ours" in args.by else [FLOOR]
    keys = [*floors, *((case, by) for case, by in wanted if not unavailable(by, case))]
    with_memory = sys.platform.startswith("linux") and not args.no_memory
    memory = memory_of_all(settings, keys) if with_memory else {}
    keep_freed_memory()  # as training does; for every contestant alike
    _limit_memory()
    for setting in settings:
        # What did not fit into a process of its own does not fit beside the others.
        failed = {key: TOO_LITTLE for key in keys if memory.get((setting, key)) == TOO_LITTLE}
        left = [key for key in keys if key not in failed]
        times = measure_times(setting, left, args.rounds, args.peer_rounds) | failed
        result["rows"] += rows(setting, times, memory)
        if args.json:
            write_json(args.json, beside_earlier(result, args.json))
    print(json.dumps(result, indent=1))


def print_memory(setting: Setting, key: Key) -> int:
    """One figure of memory on the standard output; the exit status."""
    _limit_memory()
    try:
        print(measure_memory(setting, key))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return NO_MEMORY
    return 0


if __name__ == "__main__":
    main()

"""Measure time and memory of a training step on the CPU, for our library and others.

    python benchmarks/step_time.py --json benchmarks/results/step_time_sd15_16.json
    python benchmarks/step_time.py --case loha_8_4 --model sd15 --latents 16 --batch 1 --rounds 15

The floor is the frozen U-Net: forward and backward with gradients of the inputs, without optimizer.
All libraries adapt the same layers of the same weights, and a step includes building the factors.
Times are process CPU seconds on one thread in interleaved rounds; a figure is the median of the
ratios to the floor of the same round. Memory is the peak of a step above the memory held between
steps, measured in a fresh process per library.

Other libraries are slow (tens of seconds per step), so they take part only in the first rounds.
Cases that need more memory than the machine has are skipped, and the result says so. The result is
written after each model, size and batch. Earlier rows in the file are kept if they come from the
same machine and versions and were not measured again.
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
"""The frozen model with our faster products in all its Linear and Conv layers."""
Key = tuple[str, str]
"""(case, contestant)"""
Memory = float | str
"""Megabytes, or the reason why there is no figure."""
NO_MEMORY = 75
"""Exit status of a process that measures memory and runs out of it."""
TOO_LITTLE = "the machine has too little memory"


@dataclass(frozen=True)
class Setting:
    """The model, size and batch that all libraries of a comparison have in common."""

    model: str
    latents: int
    batch: int
    share_weights: bool

    @property
    def title(self) -> str:
        return f"{MODELS[self.model].title} {self.latents}x{self.latents} batch {self.batch}"

    def build(self, key: Key, unet: Any) -> Step:
        """Build the step of a (case, contestant), whose adapter changes the U-Net's modules."""
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
    """Measure process CPU seconds of steps; each round measures all contestants in turn.

    Args:
        setting: model, size and batch.
        keys: the (case, contestant) pairs.
        rounds: rounds for our library and the floor.
        peer_rounds: rounds for other libraries.

    Returns:
        (case, contestant) -> seconds of each round, or the reason why there are none.
    """
    unet = make_unet(setting.model, share_weights=setting.share_weights)
    times: dict[Key, list[float] | str] = {}
    steps: dict[Key, Step] = {}
    # One round more than wanted: the first warms up and is not counted.
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


# With this, glibc maps every block from 64 KB by itself and returns it to the system when freed, so
# that resident memory does not include heap fragmentation.
_NO_GAPS = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def measure_memory(setting: Setting, key: Key) -> float:
    """Return the peak resident memory of the second step above that before it, in MB (Linux)."""
    step = setting.build(key, make_unet(setting.model, share_weights=setting.share_weights))
    step()
    ctypes.CDLL(None).malloc_trim(0)  # return what the first step freed to the system
    rest = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # reset the peak
    step()
    return _resident("VmHWM") - rest


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def memory_of_all(settings: list[Setting], keys: list[Key]) -> dict[tuple[Setting, Key], Memory]:
    """Call `measure_memory` for all settings and keys, each in a fresh process.

    Call it before this process allocates models.
    """
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
    """Limit this process's memory, so that allocations fail before the system kills it (Linux)."""
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
    """Yield one row of the result per (case, contestant)."""
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


def with_earlier_rows(result: dict[str, Any], path: Path) -> dict[str, Any]:
    """Add the other rows of an earlier result file, if machine and versions are the same."""
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
    """Read a number of at least one."""
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
        help="store all frozen weights in one buffer (default: for sdxl)",
    )
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="file to write the printed result into")
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
    keep_freed_memory()  # as training does
    _limit_memory()
    for setting in settings:
        # A case that did not fit into a fresh process does not fit into this one.
        failed = {key: TOO_LITTLE for key in keys if memory.get((setting, key)) == TOO_LITTLE}
        left = [key for key in keys if key not in failed]
        times = measure_times(setting, left, args.rounds, args.peer_rounds) | failed
        result["rows"] += rows(setting, times, memory)
        if args.json:
            write_json(args.json, with_earlier_rows(result, args.json))
    print(json.dumps(result, indent=1))


def print_memory(setting: Setting, key: Key) -> int:
    """Print the memory of one (case, contestant) in MB; return the exit status."""
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

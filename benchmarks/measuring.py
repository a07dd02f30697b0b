"""What all benchmarks share: ratios, a description of the machine, result files, a progress bar."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tqdm import tqdm

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "diffusers", "lycoris-lora", "peft", "bitsandbytes", "triton", "safetensors")


def ratios(values: list[float], floor: list[float]) -> dict[str, float]:
    """Return median and quartiles of the ratios of values to the floor's, round by round.

    Args:
        values: one value per round; slow libraries take part in fewer rounds.
        floor: the frozen model's value in each round.
    """
    each = [value / least for value, least in zip(values, floor, strict=False)]
    low, _middle, high = quantiles(each, n=4) if len(each) > 1 else each * 3
    return {
        "ratio": round(median(each), 3),
        "ratio_q1": round(low, 3),
        "ratio_q3": round(high, 3),
    }


def environment(*packages: str) -> dict[str, Any]:
    """Describe the machine and the packages' versions for a result; "" if one is not installed."""
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "cpus": _cpu_name()},
        "versions": {
            "python": platform.python_version(),
            **{package: _version(package) for package in packages},
        },
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.machine()
    lines = info.read_text(encoding="utf-8").splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a result as JSON; if the process is killed, the old file stays intact."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


class Progress:
    """A progress bar over steps of several kinds that take very different times.

    The remaining time is estimated from the last duration of each kind.

    Args:
        title: text before the bar.
        planned: kind -> number of steps.
    """

    def __init__(self, title: str, planned: dict[Any, int]) -> None:
        self.left = dict(planned)
        self.seconds: dict[Any, float] = {}
        form = "{desc} |{bar:30}| {n_fmt}/{total_fmt} [{elapsed} gone{postfix}]"
        self.bar = tqdm(total=sum(planned.values()), desc=title, bar_format=form, mininterval=1.0)
        self.start = time.monotonic()

    def did(self, key: Any) -> None:
        """Record that a step of this kind has just ended."""
        now = time.monotonic()
        self.seconds[key] = now - self.start
        self.start = now
        self.left[key] -= 1
        known = self.seconds.values()
        usual = sum(known) / len(known)
        eta = sum(count * self.seconds.get(kind, usual) for kind, count in self.left.items())
        self.bar.set_postfix_str(f"{tqdm.format_interval(eta)} to go", refresh=False)
        self.bar.update()

    def drop(self, key: Any) -> None:
        """Record that no more steps of this kind follow."""
        self.bar.total -= self.left.pop(key, 0)
        self.start = time.monotonic()

    def close(self) -> None:
        self.bar.close()

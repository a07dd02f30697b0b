"""The arguments of `lycoris-ext info`."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext info",
        description="Describe an adapter file and check that its tensors are unchanged.",
    )
    made.add_argument(
        "file",
        type=Path,
        help="an adapter: a .safetensors file, one of torch (.pt, .bin), or a folder of PEFT",
    )
    made.add_argument("--json", action="store_true", help="print the result as a JSON object")
    return made

"""The arguments of `lycoris-ext size`."""

from __future__ import annotations

import argparse


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext size",
        description="Predict an adapter's number of modules, parameters and bytes.",
    )
    made.add_argument(
        "--family",
        default="sd1",
        type=lambda name: "sd1" if name == "sd15" else name,
        help="family of the base model: sd1 (or sd15), sd2 or sdxl (default: sd1)",
    )
    made.add_argument("--algo", default="loha", help="algorithm, such as lokr (default: loha)")
    made.add_argument("--dim", type=int, default=8, help="rank of linear layers (default: 8)")
    made.add_argument(
        "--conv-dim",
        type=int,
        help="rank of convolutions (default: the one that training uses if it is not set)",
    )
    made.add_argument(
        "--alpha", type=float, default=1.0, help="alpha of all layers; does not change the size"
    )
    made.add_argument(
        "--preset", default="full", help="preset that selects the layers (default: full)"
    )
    made.add_argument(
        "--tucker", action="store_true", help="store convolutions in Tucker form, with a core"
    )
    made.add_argument(
        "--no-text-encoder", action="store_true", help="adapt only the U-Net, not the text encoder"
    )
    made.add_argument("--json", action="store_true", help="print the result as a JSON object")
    return made

"""The arguments of `lycoris-ext lr-equiv`."""

from __future__ import annotations

import argparse

SETTINGS = (
    'a config that train takes, or settings such as "lora dim 32 alpha 16 lr 1e-4": an algorithm, '
    "and names of options with their values (dim, alpha and lr stand for network_dim, "
    "network_alpha and learning_rate)"
)


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext lr-equiv",
        description="Convert the learning rate of one setting of an adapter into that of another "
        "alpha, rank or algorithm, at which training goes the same way, and say what of it is "
        "exact and what is a rule of thumb.",
    )
    made.add_argument(
        "--from",
        dest="before",
        required=True,
        metavar="SETTINGS",
        help=f"where it works: {SETTINGS}",
    )
    made.add_argument(
        "--to",
        dest="after",
        required=True,
        metavar="SETTINGS",
        help="what it is converted for, in the same form; settings that are not named are those "
        "of --from, but a config stands alone",
    )
    made.add_argument(
        "--family",
        default="sd1",
        help="family of the base model, whose layers are compared: sd1, sd2 or sdxl (default: sd1)",
    )
    made.add_argument("--json", action="store_true", help="print the result as a JSON object")
    return made

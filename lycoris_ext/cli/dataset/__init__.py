"""`lycoris-ext dataset ACTION`: look at a data set and prepare it; one module per action."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from lycoris_ext.cli.arguments.dataset import parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an action and return the exit code."""
    options = parser().parse_args(arguments)
    code: int = import_module(f"lycoris_ext.cli.dataset.{options.action}").main(options)
    return code

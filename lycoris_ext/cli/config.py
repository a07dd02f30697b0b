"""`lycoris-ext config FILE`: write a TOML config that trains an adapter like an existing file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lycoris_ext.cli.new_config import unused_path
from lycoris_ext.config.from_adapter import write_config
from lycoris_ext.formats import atomic_write, load_adapter


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a config for an adapter file; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="lycoris-ext config",
        description="Write a config with which an adapter like this file can be trained. Options "
        "that the file does not record become comments.",
    )
    parser.add_argument(
        "file",
        type=Path,
        help="an adapter: a .safetensors file, one of torch (.pt, .bin), or a folder of PEFT",
    )
    parser.add_argument("--output", type=Path, help="path of the new config (default: ./FILE.toml)")
    options = parser.parse_args(arguments)
    output = unused_path(options.output, options.file.stem)
    state = load_adapter(options.file)
    with state.named_in_errors():
        text = write_config(state.metadata, state.layers())
    atomic_write(output, text.encode("utf-8"))
    print(f"written: {output}")
    return 0

"""`lycoris-ext export-config FILE`: write a config of this library for another program."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lycoris_ext.cli.arguments.export_config import parser
from lycoris_ext.cli.configs import build_from
from lycoris_ext.cli.new_config import unused_path
from lycoris_ext.config import OptionSource, Reading
from lycoris_ext.config.exports import FORMATS, Target
from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.formats import atomic_write
from lycoris_ext.printable import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a config for another program; return the exit code."""
    options = parser().parse_args(arguments)
    ending, export = FORMATS[options.to]
    output = options.output or Path(f"{options.file.stem}-{options.to}{ending}")
    if output.suffix.lower() != ending:
        raise ConfigError(
            f"a config for {options.to} ends in {ending}", where=str(output), fix="change --output"
        )
    reading = Reading(skip_unsupported=options.skip_unsupported)
    config = build_from([options.file], OptionSource("export-config", {}), reading)
    exported = export(config, Target(output))
    for path in exported.files:
        unused_path(path)
    if not options.skip_unsupported:
        hint = "--skip-unsupported leaves it out"
        Faults(
            ConfigError(error.what, where=error.where, fix=f"{error.fix}; {hint}")
            for error in exported.unsupported
        ).raise_all()
    for error in exported.unsupported:
        print(f"left out: {error.what}\n  -> {error.fix}", file=sys.stderr)
    # The file that names the others comes last.
    for path, text in reversed([*exported.files.items()]):
        atomic_write(path, text.encode("utf-8"))
        print(printable(f"written: {path}"))
    return 0

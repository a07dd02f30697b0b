"""`lycoris-ext config FILE`: write a TOML config that trains an adapter like an existing file."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lycoris_ext.cli.arguments.config import parser
from lycoris_ext.cli.new_config import new_config
from lycoris_ext.config.from_adapter import write_config
from lycoris_ext.formats import atomic_write, load_adapter
from lycoris_ext.formats.doubts import doubts
from lycoris_ext.formats.summary import plans_of
from lycoris_ext.printable import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a config for an adapter file; return the exit code."""
    options = parser().parse_args(arguments)
    output = new_config(options.output, options.file.stem)
    state = load_adapter(options.file)
    notes = doubts(state, plans_of(state))
    with state.named_in_errors():
        text = write_config(state.metadata, state.layers())
    atomic_write(output, text.encode("utf-8"))
    for note in notes:
        print(printable(f"note: {options.file.name}: {note}"), file=sys.stderr)
    print(printable(f"written: {output}"))
    return 0

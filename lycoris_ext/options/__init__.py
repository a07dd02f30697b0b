"""Options: each is declared once, in the file that reads it, with its default, limits and help.

    @dataclass(frozen=True, init=False)
    class RunConfig(Section):
        \"\"\"Length, precision and output files of a run.\"\"\"

        seed: int = option(0, "Seed from which all random numbers of the run follow.", low=0)

Flags, TOML files, overrides, metadata, the widgets of ComfyUI, their tooltips and the tables of the
docs are all made from these declarations. An option that only one algorithm, schedule, optimizer or
loss reads (a "kind") is declared by that kind, and ``Section.kind_options`` collects such options.
"""

from lycoris_ext.options.declaration import MayChange, Option, option, options_of
from lycoris_ext.options.section import Section
from lycoris_ext.options.value_types import (
    TYPE_NAMES,
    alternatives,
    convert,
    describe_type,
    holds_tables,
)

__all__ = [
    "TYPE_NAMES",
    "MayChange",
    "Option",
    "Section",
    "alternatives",
    "convert",
    "describe_type",
    "holds_tables",
    "option",
    "options_of",
]

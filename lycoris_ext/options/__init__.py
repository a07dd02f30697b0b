"""Options: each is declared once, in the file that obeys it, with its default, limits and help.

    @dataclass(frozen=True, init=False)
    class RunConfig(Section):
        \"\"\"How long to train, in which precision, and what is written where.\"\"\"

        seed: int = option(0, "Every random number of the run follows from it.", low=0)

Flags, TOML files, overrides, metadata, the widgets of ComfyUI, their tooltips and the tables of the
docs are all made from these declarations. Some options are read by one kind of algorithm, schedule,
optimizer or loss alone: that kind declares them, and ``Section.kind_options`` collects them.
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

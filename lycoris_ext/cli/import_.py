"""`lycoris-ext import FILE`: write the config of another program as one of this library."""

from __future__ import annotations

from collections.abc import Sequence

from lycoris_ext.cli.arguments.import_ import parser
from lycoris_ext.cli.configs import build_from
from lycoris_ext.cli.new_config import new_config
from lycoris_ext.config import OptionSource, Reading, read_config
from lycoris_ext.config.commented import commented_toml
from lycoris_ext.formats import atomic_write
from lycoris_ext.printable import printable
from lycoris_ext.words import command

_MODEL = "pretrained_model_name_or_path"
_PICTURES = ("train_data_dir", "image_dir", "subsets", "metadata_file", "in_json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a config of this library like one of another program; return the exit code."""
    options = parser().parse_args(arguments)
    sources = [read_config(file) for file in options.files]
    first = options.files[0]
    name = first.stem if first.suffix.lower() != ".toml" else f"{first.stem}-imported"
    output = new_config(options.output, name)
    named = {name for source in sources for name, value in source.values.items() if value}
    # A path that the file leaves open is left open in the new one.
    blank = [] if _MODEL in named else [_MODEL]
    if not named & {*_PICTURES, "datasets"}:
        blank.append("train_data_dir")
    reading = Reading(skip_unsupported=options.skip_unsupported)
    stand_in = OptionSource("import", {_MODEL: "mini"} if _MODEL in blank else {})
    config = build_from(options.files, stand_in, reading)
    heading = [f"From {' and '.join(file.name for file in options.files)}."]
    atomic_write(output, commented_toml(config, heading, blank).encode("utf-8"))
    print(printable(f"written: {output}"))
    print(f"train:   {command('lycoris-ext', 'train', output)}")
    return 0

"""`lycoris-ext train [FILE.toml] [--flags]`: train, or go on with a run that was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

import tyro

from lycoris_ext.config import OptionSource, TrainConfig, all_options, build_config, read_toml
from lycoris_ext.options import describe_type, holds_tables

DESCRIPTION = """Train an adapter; the same command goes on with a run that was stopped.

usage: lycoris-ext train [FILE.toml] [--preset seed-default] [--option value ...]

Every option may stand in the file (flat or in tables, under sd-scripts' names) or be a flag; flags
win over the file, the file over --preset, that over the default."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; returns the exit code."""
    config = config_from_arguments(list(arguments or []))
    # Imported last: a mistake in the options then shows at once, not after seconds of imports.
    from lycoris_ext.training.terminal import train_in_terminal

    path = train_in_terminal(config)
    print(f"adapter: {path}")
    return 0


def config_from_arguments(arguments: list[str]) -> TrainConfig:
    """The config that a command line asks for.

    Raises:
        ConfigError: an option is unknown or wrong.
        SystemExit: a flag is unknown (2), or --help was asked for (0).
    """
    files = [argument for argument in arguments if argument.lower().endswith(".toml")]
    flags = [argument for argument in arguments if argument not in files]
    given: dict[str, Any] = tyro.cli(
        _flags_type(), prog="lycoris-ext train", description=DESCRIPTION, args=flags
    )
    layers = [read_toml(Path(file)) for file in files]
    return build_config([*layers, OptionSource("command line", given)])


def _flags_type() -> Any:
    """All options as flags; what is not given is absent, so that the file keeps its say."""
    options = {}
    for name, option in all_options().items():
        if holds_tables(option.hint):
            continue
        hint = tuple[str, ...] if name == "preset" else option.hint
        text = option.text.replace("``", "")
        if option.values != describe_type(option.hint):
            text += f" {option.values[:1].upper()}{option.values[1:]}."
        if name == "preset":
            text = "a recipe (seed-default), or which layers are adapted, or both; " + text
        note = "" if option.default in (None, "", ()) else f"(default: {option.default})"
        options[name] = Annotated[hint, tyro.conf.arg(help=text, help_behavior_hint=note)]
    return TypedDict("Flags", options, total=False)  # type: ignore[operator]

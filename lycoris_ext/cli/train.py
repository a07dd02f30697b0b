"""`lycoris-ext train [FILE] [--flags]`: train, or continue a run that was stopped."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import tyro

from lycoris_ext.cli.configs import build_from
from lycoris_ext.cli.log_file import LogFile, logged
from lycoris_ext.config import OptionSource, Reading, TrainConfig, all_options
from lycoris_ext.errors import ConfigError
from lycoris_ext.options import alternatives, describe_type, holds_tables
from lycoris_ext.printable import printable
from lycoris_ext.streams import Nowhere

DESCRIPTION = """Train an adapter; the same command continues a run that was stopped.

usage: lycoris-ext train [FILE] [--preset seed-default] [--option value ...]

FILE is a config of this library, or of sd-scripts, kohya_ss and other programs, which are read as
they are (docs/training.md lists them). Options have sd-scripts' names. Each can be given as a flag
or in the file, there with or without tables. A flag overrides the file, the file overrides
--preset, and --preset overrides defaults."""


class Flag(NamedTuple):
    """A flag of the command that is no option of a run: its help, type and short names."""

    text: str
    hint: Any = bool
    short: tuple[str, ...] = ()


OWN_FLAGS = {
    "skip_unsupported": Flag(
        "Leave out settings of another program's config that are not supported here, instead of "
        "refusing the file."
    ),
    "dry_run": Flag(
        "Check everything, and tell what would be trained and written. No file of a run is "
        "written, and the base model's weights are not read."
    ),
    "deterministic": Flag(
        "Use only operations that add in a fixed order, so that the same command gives the same "
        "bits on a GPU, too. It is slower there; on a CPU runs are always so."
    ),
    "quiet": Flag("Print notes, errors and the adapter's path alone.", short=("-q",)),
    "verbose": Flag("Print the numbers of each step in a line of its own.", short=("-v",)),
    "log_file": Flag(
        "A file to which all that is said is appended, with the time before each line, also what "
        "--quiet does not print.",
        str,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and print the adapter's path; return the exit code."""
    given = list(arguments or [])
    options, own = _parse(given)
    if own.get("quiet") and own.get("verbose"):
        raise ConfigError(
            "--quiet and --verbose contradict each other", where="train", fix="give one of them"
        )
    path = own.get("log_file")
    command = shlex.join(["lycoris-ext", "train", *given])
    with logged(path, command) if path is not None else nullcontext() as log:
        _train(_config(given, options, own), own, log)
    return 0


def _train(config: TrainConfig, own: Mapping[str, Any], log: LogFile | None) -> None:
    # Imported last, so that a mistake in the options shows before seconds of imports.
    from lycoris_ext.training.deterministic import deterministic
    from lycoris_ext.training.terminal import Telling, train_in_terminal

    quiet = own.get("quiet", False)
    telling = Telling((log or Nowhere()) if quiet else None, own.get("verbose", False))
    if own.get("dry_run"):
        from lycoris_ext.cli.dry_run import dry_run

        dry_run(config, telling)
        return
    with deterministic(own.get("deterministic", False)):
        path = train_in_terminal(config, telling)
    print(printable(f"adapter: {path}"))


def config_from_arguments(arguments: list[str]) -> TrainConfig:
    """Build the training config from the arguments of `lycoris-ext train`.

    Args:
        arguments: paths of configs, and flags.

    Raises:
        ConfigError: there is no argument, or an option is unknown or wrong.
        SystemExit: a flag is unknown (2), or --help was asked for (0).
    """
    return _config(arguments, *_parse(arguments))


def _parse(arguments: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the flags that are given: options of a run, and those of ``OWN_FLAGS``."""
    if not arguments:
        raise ConfigError(
            "train wants a config, or a folder of pictures and a base model",
            where="lycoris-ext train",
            fix="lycoris-ext train my.toml, or lycoris-ext train --train_data_dir pictures "
            "--pretrained_model_name_or_path model.safetensors",
        )
    given: dict[str, Any] = tyro.cli(
        _flags_type(),
        prog="lycoris-ext train",
        description=DESCRIPTION,
        args=list(without_bools(split_files(arguments)[1])),
    )
    return given, {name: given.pop(name) for name in OWN_FLAGS if name in given}


def _config(arguments: list[str], options: dict[str, Any], own: Mapping[str, Any]) -> TrainConfig:
    """Build the config of the files among the arguments, and of the options among the flags."""
    reading = Reading(skip_unsupported=own.get("skip_unsupported", False))
    files = [Path(file) for file in split_files(arguments)[0]]
    return build_from(files, OptionSource("command line", options), reading)


def split_files(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments of `train` into configs, and flags with their values.

    Configs stand before the flags; a .toml file that is no flag's value may stand behind them.
    """
    first = next((n for n, text in enumerate(arguments) if text.startswith("-")), len(arguments))
    files = list(arguments[:first])
    flags: list[str] = []
    for before, argument in zip(["", *arguments[first:]], arguments[first:], strict=False):
        takes_toml = before.replace("-", "_") in ("__preset", "__sample_prompts", "__level_rules")
        is_file = argument.lower().endswith(".toml") and not argument.startswith("-")
        (files if is_file and not takes_toml else flags).append(argument)
    return files, flags


def without_bools(flags: Sequence[str]) -> Iterator[str]:
    """Write flags that are switches as tyro wants them: --x true as --x, --x=false as --no-x."""
    switches = {name for name, known in all_options().items() if bool in alternatives(known.hint)}
    switches |= {name for name, flag in OWN_FLAGS.items() if flag.hint is bool}
    rest = list(flags)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if flag.startswith("--") and flag[2:].replace("-", "_") in switches:
            given = value if equals else rest[0] if rest else ""
            if given.lower() in ("true", "false"):
                rest = rest if equals else rest[1:]
                yield flag if given.lower() == "true" else f"--no-{flag[2:]}"
                continue
        yield f"{flag}{equals}{value}"


def _flags_type() -> Any:
    """Make a TypedDict type with all options, from which tyro makes flags.

    Flags that are not given are absent from the parsed dict, so that they do not override the file.
    """
    options: dict[str, Any] = {
        name: Annotated[flag.hint, tyro.conf.arg(help=flag.text, aliases=flag.short or None)]
        for name, flag in OWN_FLAGS.items()
    }
    for name, option in all_options().items():
        if holds_tables(option.hint):
            continue
        # A switch: --v2 and --no-v2. An option that is not given is unset anyway.
        hint = bool if option.hint == bool | None else option.hint
        hint = tuple[str, ...] if name == "preset" else hint
        text = option.text.replace("``", "")
        if option.values != describe_type(option.hint):
            text += f" {option.values[:1].upper()}{option.values[1:]}."
        if name == "preset":
            text = "A recipe (seed-default), or a set of layers to adapt, or both. " + text
        note = "" if option.default in (None, "", ()) else f"(default: {option.default})"
        options[name] = Annotated[hint, tyro.conf.arg(help=text, help_behavior_hint=note)]
    return TypedDict("Flags", options, total=False)  # type: ignore[operator]

"""Read a config file of this library or of another program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from lycoris_ext.config.imports import FORMATS, format_of
from lycoris_ext.config.imports.command_line import NOT_READ
from lycoris_ext.config.imports.companions import find_companion
from lycoris_ext.config.imports.datasets import is_dataset_config
from lycoris_ext.config.imports.documents import Document, read_document
from lycoris_ext.config.resolve import OptionSource
from lycoris_ext.config.sd_scripts_options import AROUND, DEFAULTS, row_of
from lycoris_ext.config.toml_file import without_tables
from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.training.config import all_options
from lycoris_ext.words import and_more, short

MARKS = ("network_module", "training_script", "model_train_type", "dataset_config", "config_file")
"""Options that only configs for sd-scripts have; one that has them is a whole config for it, in
which options that are not set have sd-scripts' defaults."""


def read_config(path: Path) -> OptionSource:
    """Read the options in a config file; they are not checked yet.

    Args:
        path: a config of this library, of sd-scripts (TOML; a dataset_config; a script or text with
            its command line) or of one of the programs in ``FORMATS``.

    Raises:
        ConfigError: the file is missing or damaged, sets an option twice, or is no config.
        EnvironmentFault: reading the file's format needs a package that is not installed.
    """
    where = str(path)
    document = read_document(path)
    known = format_of(document)
    if known is not None:
        foreign = known.read(document, where)
        return _with_files(where, foreign.values, foreign.unsupported, path)
    names = names_in(document)
    telling = names - AROUND
    is_of_sd_scripts = is_dataset_config(document) or any(map(_is_sd_scripts_alone, telling))
    if names and not (is_of_sd_scripts or telling & all_options().keys()):
        raise _stranger(document, where)
    if is_of_sd_scripts or telling != names:
        return _with_files(where, without_tables(document, where, last_wins=True), (), path)
    return OptionSource(where, without_tables(document, where))


def names_in(document: Document) -> set[str]:
    """Return the names of a document and of its tables."""
    tables = [document, *(each for each in document.values() if isinstance(each, Mapping))]
    return {name for table in tables for name in table}


def _is_sd_scripts_alone(name: str) -> bool:
    """Return True for an option that sd-scripts has and this library has not.

    Most names are the same there and here, and configs of this library hold no others.
    """
    return name in (*MARKS, "network_args", "optimizer_args") or (
        row_of(name) is not None and name not in all_options()
    )


def _with_files(
    where: str, values: Mapping[str, object], unsupported: Iterable[LycorisExtError], path: Path
) -> OptionSource:
    """Add what the files that a config names say: config_file (below it), dataset_config (above).

    A file that is not there is a setting that is not supported, so that it can be left out.
    """
    values, missing = dict(values), list(unsupported)
    missing += _not_read(values.pop(NOT_READ, ()), where)
    is_whole = any(values.get(mark) for mark in MARKS)
    for option in ("config_file", "dataset_config"):
        name = values.pop(option, None)
        if not name:
            continue
        looked_for = str(name)
        if option == "config_file" and not looked_for.endswith(".toml"):
            looked_for += ".toml"  # as sd-scripts does
        file = find_companion(looked_for, (Path(), path.parent))
        if file is None:
            missing.append(_missing(option, str(name), where))
        elif option == "config_file":
            inner = without_tables(read_document(file), str(file), last_wins=True)
            inner.pop("config_file", None)  # sd-scripts reads one such file
            below = _with_files(str(file), inner, (), file)
            missing += below.unsupported
            values = {**below.values, **values}
        else:
            document = read_document(file)
            if not is_dataset_config(document):
                missing.append(_without_data(file, where))
                continue
            values |= {n: document[n] for n in ("general", "datasets") if n in document}
    of_data = {name: DEFAULTS[name] for name in ("enable_bucket", "caption_extension")}
    defaults = DEFAULTS if is_whole else of_data if "datasets" in values else {}
    return OptionSource(where, values, True, defaults, missing)


def _not_read(words: object, where: str) -> list[ConfigError]:
    if not isinstance(words, list) or not words:
        return []
    return [
        ConfigError(
            f"the command holds {and_more(words)}, which the script does not set to a plain text",
            where=where,
            fix="the script is not run here; write echo before its command, run it, and give a "
            ".txt file with what it prints; or write the values into the command",
        )
    ]


def _missing(option: str, name: str, where: str) -> ConfigError:
    return ConfigError(
        f"{option} names {short(repr(name))}, and there is no such file",
        where=where,
        fix="correct the path; it is looked for in the current folder and beside this file",
    )


def _without_data(file: Path, where: str) -> ConfigError:
    return ConfigError(
        f"dataset_config names '{file}', which lists no data sets",
        where=where,
        fix="write [[datasets]] and [[datasets.subsets]] with image_dir into it, or name another",
    )


def _stranger(document: Document, where: str) -> ConfigError:
    """Make the error for a file none of whose names is an option, naming what can be read."""
    programs = sorted({known.program for known in FORMATS})
    names = sorted(short(str(name), 40) for name in document)
    return ConfigError(
        f"no config that is known here: it has {and_more(names)}",
        where=where,
        fix=f"give a config of lycoris_ext, sd-scripts or {', '.join(programs)}",
    )

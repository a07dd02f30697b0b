"""sd-scripts' dataset_config: its data sets with their subsets become one list of subsets.

There, an option that a subset does not set has the value of its data set, else that of [general],
else that of the command line (ConfigSanitizer and BlueprintGenerator in library/config_util.py).
Here subsets have the values of the whole data set, so what [general] says is written there, and
what a data set says is written into each of its subsets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lycoris_ext.errors import ConfigError
from lycoris_ext.words import and_more

RENAMED = {
    "batch_size": "train_batch_size",
    # musubi-tuner's data sets, which are folders themselves.
    "image_directory": "image_dir",
}
#: Options that a data set as a whole does not have here.
OF_SUBSETS = ("class_tokens", "is_reg", "metadata_file", "image_dir")
#: Of sd-scripts: with a dataset_config these options are not looked at.
REPLACED = ("train_data_dir", "reg_data_dir", "in_json", "image_dir")
#: Of musubi-tuner: where caches are.
WITHOUT_EFFECT = ("cache_directory",)

Table = Mapping[str, Any]


def is_dataset_config(document: Mapping[str, Any]) -> bool:
    """Return True if a document has the tables of a dataset_config."""
    return isinstance(document.get("datasets"), list)


def with_subsets(values: Mapping[str, object], where: str) -> dict[str, object]:
    """Replace the tables ``general`` and ``datasets`` by options of the data set and subsets.

    Args:
        values: option -> value, with or without these tables.
        where: the file's name, for messages.

    Returns:
        Option -> value; the list ``subsets`` holds a table of options for each subset. Names of
        options are sd-scripts' own there, too, except batch_size.

    Raises:
        ConfigError: a table is none, or there are no subsets.
    """
    if "datasets" not in values:
        return dict(values)
    general = _table(values.get("general") or {}, "general", where)
    datasets = values["datasets"]
    if not isinstance(datasets, (list, tuple)):
        raise ConfigError(
            "datasets is no list of tables", where=where, fix="write [[datasets]] above each"
        )
    tables = [_renamed(_table(each, "datasets", where)) for each in datasets]
    shared = {n: v for n, v in general.items() if n not in OF_SUBSETS}
    if len(tables) == 1:  # what the only data set says holds for all
        shared |= {n: v for n, v in tables[0].items() if n not in OF_SUBSETS and n != "subsets"}
        tables = [{n: v for n, v in tables[0].items() if n not in shared}]
    subsets = [
        subset
        for table in tables
        for subset in _subsets({n: v for n, v in general.items() if n in OF_SUBSETS} | table, where)
    ]
    if not subsets:
        held = and_more(sorted({name for table in [*tables, shared] for name in table}), 6)
        raise ConfigError(
            f"datasets has no subset with pictures; it has {held or 'nothing'}",
            where=where,
            fix='write [[datasets.subsets]] with image_dir = "..." below [[datasets]]',
        )
    kept = {
        name: value
        for name, value in values.items()
        if name not in ("general", "datasets", *REPLACED)
    }
    return {**kept, **_renamed(shared), "subsets": subsets}


def _subsets(dataset: Table, where: str) -> Iterator[dict[str, object]]:
    """Yield each subset of a data set with the options that the data set sets for it."""
    inherited = {n: v for n, v in dataset.items() if n != "subsets"}
    entries = dataset.get("subsets")
    if entries is None and "image_dir" in dataset:
        entries = [{}]
    if not isinstance(entries or [], (list, tuple)):
        raise ConfigError(
            f"datasets.subsets is {entries!r}, expected tables",
            where=where,
            fix="write [[datasets.subsets]] above each",
        )
    for entry in entries or ():
        subset = _renamed(inherited | _table(entry, "datasets.subsets", where))
        if subset.get("num_repeats") != 0:  # sd-scripts leaves such a subset out
            yield subset


def _renamed(table: Table) -> dict[str, object]:
    return {RENAMED.get(n, n): v for n, v in table.items() if n not in WITHOUT_EFFECT}


def _table(value: object, name: str, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{name} holds {value!r}, expected a table",
            where=where,
            fix="write the options of this table there",
        )
    return dict(value)

"""Build what a reader of another program's config returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lycoris_ext.config import TrainConfig, build_config
from lycoris_ext.config.imports.foreign import Foreign
from lycoris_ext.config.resolve import OptionSource


def built(foreign: Foreign) -> TrainConfig:
    """Build the config; tables of a dataset_config become subsets."""
    values = dict(foreign.values)
    datasets: Any = values.pop("datasets", None)
    if datasets is not None:
        values["subsets"] = [
            _of_ours(dataset) | _of_ours(subset)
            for dataset in datasets
            for subset in dataset["subsets"]
        ]
    return build_config([OptionSource("config", values)])


def _of_ours(table: Mapping[str, Any]) -> dict[str, Any]:
    named = {"batch_size": "train_batch_size"}
    table = {name: value for name, value in table.items() if name != "subsets"}
    size = table.get("resolution")
    if isinstance(size, list):
        table["resolution"] = ",".join(map(str, size))
    return {named.get(name, name): value for name, value in table.items()}

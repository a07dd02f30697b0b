"""Build the config of a run from TOML files, recipes and flags, and write configs as TOML."""

from lycoris_ext.config.imports.reading import Reading
from lycoris_ext.config.read_config import read_config
from lycoris_ext.config.recipes import RECIPES
from lycoris_ext.config.resolve import OptionSource, build_config
from lycoris_ext.config.toml_file import read_toml
from lycoris_ext.options import Option
from lycoris_ext.training.config import TrainConfig, all_options, dump_toml

__all__ = [
    "RECIPES",
    "Option",
    "OptionSource",
    "Reading",
    "TrainConfig",
    "all_options",
    "build_config",
    "dump_toml",
    "read_config",
    "read_toml",
]

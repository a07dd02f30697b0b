"""Every option of this checkout's LoRA training has a treatment here."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.errors import ConfigError
from tests.hosts.checkouts import Checkout

pytestmark = pytest.mark.hosts

FILES = (
    "train_network.py",
    "sdxl_train_network.py",
    "library/train_util.py",
    "library/sdxl_train_util.py",
    "library/custom_train_functions.py",
    "library/sai_model_spec.py",
    "library/deepspeed_utils.py",
)


def declared(path: Path) -> Iterator[str]:
    """Yield the names of the options that a file declares with add_argument."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # backslashes in their docstrings
        warnings.simplefilter("ignore", DeprecationWarning)  # the same, before Python 3.12
        tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            for argument in node.args:
                text = argument.value if isinstance(argument, ast.Constant) else ""
                if str(text).startswith("--"):
                    yield str(text)[2:]


def test_no_option_of_the_checkout_is_unknown(sd_scripts: Checkout) -> None:
    names = {name for file in FILES for name in declared(sd_scripts.folder / file)}
    assert len(names) > 150
    values = {"network_module": "networks.lora", **dict.fromkeys(sorted(names - NAMED), "?")}
    with pytest.raises(ConfigError) as caught:
        build_config([OptionSource("all", values)])
    assert not [str(part) for part in caught.value.parts if "unknown option" in str(part)]


NAMED = {"config_file", "dataset_config", "network_module"}
"""Options that are read with the file, before a config is built."""

"""TOML on a Python that does not read it itself: with what is installed there."""

from __future__ import annotations

import sys

import pytest

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.formats import toml_text


@pytest.mark.parametrize("package", ["tomli", "toml"])
def test_the_package_that_is_there(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tomli", "toml"):
        monkeypatch.setitem(sys.modules, name, sys if name == package else None)
    assert toml_text._package() is sys


def test_neither_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tomli", "toml"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EnvironmentFault, match="reads TOML with the package tomli"):
        toml_text._package()

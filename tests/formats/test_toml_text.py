"""Writing and reading TOML on every Python, with whichever package is installed."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.formats import toml_text

PLAIN = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
NAMES = st.from_regex(r"[a-z_]+", fullmatch=True)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=8
)


@given(VALUES)
def test_a_written_value_is_read_back_the_same(value: object) -> None:
    assert toml_text.read_tables(f"x = {toml_text.toml_value(value)}") == {"x": value}


@pytest.mark.parametrize("package", ["tomli", "toml"])
def test_whichever_toml_package_is_installed_is_used(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tomli", "toml"):
        monkeypatch.setitem(sys.modules, name, sys if name == package else None)
    assert toml_text._package() is sys


def test_without_a_toml_package_the_error_names_tomli(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tomli", "toml"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EnvironmentFault, match="reads TOML with the package tomli"):
        toml_text._package()

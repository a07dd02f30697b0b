"""The form comes back from the browser as far as it can be chosen today."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webui_extension.form import folder_choices
from webui_extension.laboratory import Laboratory
from webui_extension.memory import updates

TEXT = SimpleNamespace()
FIELDS = {
    "folder": TEXT,
    "chosen": SimpleNamespace(choices=[]),
    "prompts": TEXT,
    "tests": SimpleNamespace(choices=["a", "b"]),
    "sampler": SimpleNamespace(choices=[("Euler", "Euler"), ("DDIM", "DDIM")]),  # as in gradio 4
    "width": TEXT,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda one: st.lists(one, max_size=7) | st.dictionaries(st.text(max_size=3), one, max_size=3),
)


@pytest.fixture(autouse=True)
def gradio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", SimpleNamespace(update=dict))


def restored(laboratory: Laboratory, *values: Any) -> list[Any]:
    return updates(laboratory, FIELDS, json.dumps(values))


def test_texts_and_choices_that_are_still_there_come_back(
    laboratory: Laboratory, folder: Path
) -> None:
    labels = folder_choices(laboratory, str(folder))
    kept = restored(
        laboratory, str(folder), [labels[1], "gone"], "a cat", ["b", "gone"], ["DDIM", "PLMS"], 640
    )
    assert kept == [
        {"value": str(folder)},
        {"choices": labels, "value": [labels[1]]},
        {"value": "a cat"},
        {"value": ["b"]},
        {"value": ["DDIM"]},
        {"value": 640},
    ]


def test_checkpoints_of_a_folder_that_is_gone_are_not_ticked(
    laboratory: Laboratory, folder: Path
) -> None:
    assert restored(laboratory, "/etc", ["x"], "", [], [], 1)[1] == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.lists(JSON, min_size=6, max_size=6) | JSON)
def test_whatever_a_browser_kept_changes_nothing_into_something_odd(
    kept: Any, laboratory: Laboratory
) -> None:
    for update in updates(laboratory, FIELDS, json.dumps(kept)):
        assert set(update) <= {"value", "choices"}


def test_a_browser_that_kept_nothing_changes_nothing(laboratory: Laboratory) -> None:
    for text in ("", "{", "[]", "null"):
        assert updates(laboratory, FIELDS, text) == [{}] * 6

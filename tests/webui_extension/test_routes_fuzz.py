"""Whatever is sent to a route, it answers in words with a status below 500 (or 503: the disk)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.webui_extension.conftest import FakeHost
from webui_extension.door import Openness
from webui_extension.laboratory import Laboratory
from webui_extension.routes import Answer, Route, respond, routes_of
from webui_extension.training import Training

HEADERS = {"content-type": "application/json", "host": "127.0.0.1"}
STATUSES = (200, 400, 403, 503)
FUZZED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ODD_NAMES = ["", " ", "~", "..", "/", "//x/y", "C:\\x", "a/" * 3000, "x" * 300, "\0", "\ud800"]
ODD_VALUES = ["<lora:a:1>", "a --x b", "nan", "1e999", "0:" * 99, "\u202e", "{grid}", "9" * 5000]
ODD_TEXTS = st.sampled_from([*ODD_NAMES, *ODD_VALUES])
TEXTS = st.text(max_size=20) | ODD_TEXTS
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -1, 2**63, 0.5, 1e308])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
ANYTHING = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(TEXTS, one, max_size=3)
)
PLACES = st.fixed_dictionaries({}, optional={"grid": TEXTS, "name": TEXTS})


@pytest.fixture
def routes(laboratory: Laboratory, folder: Path, tmp_path: Path) -> Iterator[list[Route]]:
    training = Training(laboratory.allowed_folders, tmp_path / "training")
    yield routes_of(laboratory, training)
    laboratory.jobs.interrupt()
    if laboratory.jobs.last is not None:
        assert laboratory.jobs.last.ended.wait(60)


def answered(route: Route, body: bytes, places: dict[str, str] | None = None) -> Answer:
    given = {name: "x" for name in ("grid", "name") if f"{{{name}}}" in route.path}
    given |= {name: text for name, text in (places or {}).items() if name in given}
    answer = respond(route, HEADERS, body, given, Openness())
    assert answer.status in STATUSES, answer
    if answer.file is None:
        told = json.loads(answer.json)
        if answer.status != 200:
            assert told["error"] and set(told) == {"error", "where", "fix"}
    return answer


def sensible(schema: dict[str, Any], folder: Path) -> st.SearchStrategy[dict[str, Any]]:
    """Requests with the right names, whose values are right or odd."""
    files = [str(path) for path in folder.glob("*.safetensors")]
    texts = st.sampled_from([*files, str(folder), "a cat", "1", "model-a", "Euler", "trigger only"])
    one = texts | ODD_TEXTS | st.integers(-2, 100) | SCALARS
    values = one | st.lists(one, max_size=2) | ANYTHING
    return st.fixed_dictionaries({}, optional=dict.fromkeys(schema["properties"], values))


@FUZZED
@given(data=st.data())
def test_any_json_is_answered_in_words(data: st.DataObject, routes: list[Route]) -> None:
    route = data.draw(st.sampled_from(routes), label="route")
    content = data.draw(ANYTHING, label="content")
    answered(route, _dumped(content), data.draw(PLACES, label="places"))


@FUZZED
@given(data=st.data())
def test_requests_with_odd_values_are_answered_in_words(
    data: st.DataObject, routes: list[Route], folder: Path
) -> None:
    route = data.draw(st.sampled_from([r for r in routes if r.schema is not None]), label="route")
    assert route.schema is not None
    content = data.draw(sensible(route.schema, folder), label="content")
    answered(route, _dumped(content))


@FUZZED
@given(body=st.binary(max_size=60))
def test_bytes_that_are_no_json_are_answered_in_words(body: bytes, routes: list[Route]) -> None:
    for route in routes:
        if route.method == "POST":
            answered(route, body)


@pytest.mark.parametrize("step", ['"<b>"', "null", "[1]", "1e999", "9" * 400, "true", "-1", "NaN"])
def test_a_training_whose_events_are_odd_is_reported(
    step: str, routes: list[Route], tmp_path: Path
) -> None:
    note = {"config": "x.toml", "log": "x.log", "output_dir": str(tmp_path), "output_name": "odd"}
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "current.json").write_text(json.dumps(note), encoding="utf-8")
    lines = [f'{{"event": "step", "step": {step}, "loss": 1}}']
    lines += [f'{{"event": "step", "step": 3, "loss": {step}}}', "[]", "{", '{"step": {}}']
    (tmp_path / "odd.events.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (route,) = (r for r in routes if (r.method, r.path) == ("GET", "/training"))
    told = json.loads(answered(route, b"").json)
    assert told["running"] is False and told["step"] in (0, 3)
    assert told["loss"] is None or math.isfinite(told["loss"])


def test_refusals_of_a_shared_host_name_no_folder(
    routes: list[Route], host: FakeHost, folder: Path
) -> None:
    (route,) = (r for r in routes if r.path == "/run")
    body = _dumped({"folder": "/etc/passwd"})
    assert str(folder.parent) in json.loads(answered(route, body).json)["fix"]
    host.shared = True
    answer = answered(route, body)
    assert answer.status == 403 and str(folder.parent) not in answer.json.decode()


def _dumped(content: Any) -> bytes:
    try:
        return json.dumps(content).encode("utf-8")
    except ValueError:
        assume(False)  # Python itself writes no number of so many digits
        raise

"""Requests of foreign web pages are refused; those of the host's own page and of programs are not.

What browsers send was read off Chromium: see tests/hosts for a foreign page in a real one.
"""

from __future__ import annotations

import json

import pytest

from lycoris_ext.errors import ConfigError
from webui_extension.allowed_folders import NotAllowed
from webui_extension.door import MAX_BYTES, Openness, as_json, read_json, refuse_foreign

LOCAL, SHARED = Openness(), Openness(local=False)
HERE = {"host": "127.0.0.1:7860"}
OWN = {**HERE, "origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}
FOREIGN = "https://evil.example"


def refused(headers: dict[str, str], openness: Openness = LOCAL, method: str = "POST") -> bool:
    try:
        refuse_foreign(method, headers, openness)
    except NotAllowed:
        return True
    return False


@pytest.mark.parametrize(
    ("headers", "openness"),
    [
        (OWN, LOCAL),
        (HERE, LOCAL),
        ({"host": "localhost:7860"}, LOCAL),
        ({"host": "[::1]:7860", "origin": "http://[::1]:7860"}, LOCAL),
        # --listen: browsers send Sec-Fetch-Site to https addresses and to their own computer alone.
        ({"host": "192.168.0.7:7860", "origin": "http://192.168.0.7:7860"}, SHARED),
        ({"host": "my-pc:7860", "origin": "http://my-pc:7860"}, SHARED),
        # --share, and a proxy with https that passes on its own name, or its backend's.
        ({"host": "abc.gradio.live", "sec-fetch-site": "same-origin"}, SHARED),
        ({**HERE, "origin": "https://my.page", "sec-fetch-site": "same-origin"}, LOCAL),
        # A proxy without https: it passes on another port, or its backend's address.
        ({"host": "nas", "origin": "http://nas:81", "x-forwarded-for": "10.0.0.2"}, SHARED),
        ({**HERE, "origin": "http://nas:81", "x-forwarded-proto": "http"}, SHARED),
        ({**HERE, "origin": FOREIGN, "sec-fetch-site": "cross-site"}, Openness(True, (FOREIGN,))),
        ({**HERE, "origin": FOREIGN}, Openness(pattern=r"https://.*\.example")),
    ],
)
def test_the_hosts_own_page_programs_and_named_pages_may_ask(
    headers: dict[str, str], openness: Openness
) -> None:
    assert not refused(headers, openness)
    assert not refused(headers, openness, "GET")


@pytest.mark.parametrize(
    ("headers", "openness"),
    [
        ({**HERE, "origin": FOREIGN, "sec-fetch-site": "cross-site"}, LOCAL),
        # The same computer's name at another port is another page.
        ({**HERE, "origin": "http://127.0.0.1:8188", "sec-fetch-site": "same-site"}, LOCAL),
        ({**HERE, "origin": "http://127.0.0.1:8188"}, LOCAL),
        ({**HERE, "origin": "null", "sec-fetch-site": "cross-site"}, LOCAL),
        ({**HERE, "origin": "null"}, SHARED),
        ({"host": "192.168.0.7:7860", "origin": FOREIGN}, SHARED),
        # A name of the foreign page's own that leads to this computer's address.
        ({"host": "evil.example:7860", "origin": "http://evil.example:7860"}, LOCAL),
        ({"host": "evil.example:7860"}, LOCAL),
        ({"host": "127.0.0.1.evil.example"}, LOCAL),
        ({"host": "[::1"}, LOCAL),
        ({**HERE, "origin": FOREIGN}, Openness(pattern=r"https://.*\.exampl")),
        # A picture or a frame in a foreign page.
        ({**HERE, "sec-fetch-site": "cross-site", "sec-fetch-dest": "image"}, LOCAL),
    ],
)
def test_foreign_pages_are_refused(headers: dict[str, str], openness: Openness) -> None:
    assert refused(headers, openness)
    assert refused(headers, openness, "GET")


def test_a_link_on_another_page_may_be_followed_but_sends_nothing() -> None:
    followed = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    headers = {**HERE, "sec-fetch-site": "cross-site", **followed}
    assert not refused(headers, method="GET")
    assert refused(headers, method="POST")


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"]
)
def test_types_that_a_form_can_send_are_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match="send JSON with the header"):
        read_json(b"{}", {"content-type": kind})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 10_000,
        b" " * (MAX_BYTES + 1),
    ],
)
def test_what_is_no_json_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(ConfigError, match="request: "):
        read_json(content, {"content-type": "application/json"})


def test_json_is_read_in_any_case_of_its_type() -> None:
    told = {"content-type": "Application/JSON; charset=utf-8"}
    assert read_json('{"a": "é\U0001f600"}'.encode(), told) == {"a": "é\U0001f600"}


def test_answers_with_nan_and_with_names_that_are_no_text_are_json() -> None:
    answer = {"loss": float("nan"), "cells": [(1.5, float("-inf"))], 3: "run\udcff", "é": None}
    assert json.loads(as_json(answer)) == {
        "loss": None,
        "cells": [[1.5, None]],
        "3": "run\udcff",
        "é": None,
    }

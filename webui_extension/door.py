"""Decide which requests the API takes: none of foreign web pages, and JSON of a limited size.

A browser sends a request to this computer for any web page that asks for it. The page cannot read
the answer, but the request alone could install a file or start a training.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.json_text import parse_json
from webui_extension.allowed_folders import NotAllowed

#: A request for the largest grid needs a tenth of this.
MAX_BYTES = 4_000_000

_OF_PROXIES = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "via")

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Openness:
    """To whom the host is open, by its command line.

    Args:
        local: whether only browsers on this computer reach it.
        origins: other web pages that may ask (--cors-allow-origins), such as "https://my.page".
        pattern: the same as a regular expression (--cors-allow-origins-regex); "" for none.
    """

    local: bool = True
    origins: tuple[str, ...] = ()
    pattern: str = ""

    def names(self, origin: str) -> bool:
        """Whether the command line allows a web page."""
        return origin in self.origins or bool(
            self.pattern and re.fullmatch(self.pattern, origin) is not None
        )


def refuse_foreign(method: str, headers: Headers, openness: Openness) -> None:
    """Refuse a request that a browser makes for another web page than the host's own.

    Programs such as curl, which name no page, are let in.

    Args:
        method: "GET" or "POST".
        headers: the request's headers; their names are in small letters.
        openness: to whom the host is open.

    Raises:
        NotAllowed: another page asks.
    """
    origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "")
    if origin and openness.names(origin):
        return
    # No script can set this header. Browsers send it to https addresses and to this computer.
    if site in ("same-origin", "none"):
        return
    if site:
        followed = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"))
        if method == "GET" and followed == ("navigate", "document"):
            return  # a link on another page was clicked, and the browser shows the answer
        raise _foreign(origin or site)
    host = headers.get("host", "")
    # A proxy may pass on another Host than the browser asked. No page can set a proxy's headers
    # without asking the host first, which does not answer.
    proxied = any(name in headers for name in _OF_PROXIES)
    if origin and not proxied and urlsplit(origin).netloc.lower() != host.lower():
        raise _foreign(origin)
    # A foreign name may lead to this computer's address: then the foreign page seems our own.
    if openness.local and host and not _is_address(host):
        raise _foreign(origin or f"http://{host}")


def _foreign(who: str) -> NotAllowed:
    return NotAllowed(
        "the request comes from another web page than the host's own",
        where=who[:200],
        fix="open the host's page; if this address is yours, start the host with "
        "--cors-allow-origins=ADDRESS",
    )


def _is_address(host: str) -> bool:
    """Whether a Host header is a number or this computer's own name, to which no page can lead."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost" or name.endswith(".localhost"):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def read_json(content: bytes, headers: Headers) -> Any:
    """Read the JSON of a request.

    Args:
        content: the request's body.
        headers: its headers; their names are in small letters.

    Raises:
        ConfigError: it is no JSON, not said to be JSON, too large, or holds half characters.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    # A form of a foreign page can send other types without asking the host first.
    if kind != "application/json":
        raise ConfigError(
            f"its content type is {kind[:60]!r}",
            where="request",
            fix="send JSON with the header Content-Type: application/json",
        )
    if len(content) > MAX_BYTES:
        raise ConfigError(
            f"is larger than {MAX_BYTES:,} bytes", where="request", fix="ask for fewer things"
        )
    try:
        known = parse_json(content)
        json.dumps(known, ensure_ascii=False).encode("utf-8")  # fails for half characters
    except ValueError as error:
        raise ConfigError(
            f"cannot be read as JSON in UTF-8 ({error})"[:200],
            where="request",
            fix="send one JSON object",
        ) from error
    return known


def as_json(answer: Any) -> bytes:
    """Write an answer as JSON; a number that JSON lacks, such as NaN, becomes null.

    Names of files may hold bytes that are no text. They are escaped, so that any reader takes them.
    """
    return json.dumps(_finite(answer), allow_nan=False).encode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value

"""A headless Chromium for tests, driven by selenium.

Needed: `chromium` and `chromedriver` (Debian: chromium, chromium-driver); CHROMIUM and CHROMEDRIVER
in the environment name others than those on the path.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selenium.common.exceptions import TimeoutException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from lycoris_ext.errors import EnvironmentFault

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
CHROMEDRIVER = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")

# The last three: without them it asks its maker's servers for updates. ChromeDriver sets others.
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
)


@contextmanager
def browsing(size: tuple[int, int] = (1400, 1000), touch: bool = False) -> Iterator[Chrome]:
    """A browser with a new profile for a `with` block.

    Elements are waited for, 30 seconds at most; `get_log("browser")` is what the page's scripts
    complained of since the last call.

    Args:
        size: (width, height) of the page in pixels, which are those of a screenshot.
        touch: be a phone: fingers instead of a mouse, and a page that is fitted to the screen.

    Raises:
        EnvironmentFault: Chromium or ChromeDriver is missing.
    """
    if not (CHROMIUM and CHROMEDRIVER):
        raise EnvironmentFault(
            "chromium or chromedriver is not found",
            where="CHROMIUM, CHROMEDRIVER",
            fix="install both, or name them there",
        )
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    options.timeouts = {"implicit": 30_000}
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": touch}
    # A driver that is named is not looked for, nor downloaded.
    with Chrome(options, ChromeService(CHROMEDRIVER)) as browser:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})
        yield browser


def wait_for(browser: Chrome, expression: str, limit: float = 60) -> Any:
    """Wait until a JavaScript expression is true, at most `limit` seconds, and return its value."""
    script = f"return {expression}"
    try:
        return WebDriverWait(browser, limit, 0.2).until(lambda _: browser.execute_script(script))
    except TimeoutException as error:
        told = browser.get_log("browser")
        raise AssertionError(f"never true within {limit} s: {expression}\n{told}") from error


def fill(field: WebElement, text: str) -> None:
    """Replace the text of a field."""
    field.clear()
    field.send_keys(text)

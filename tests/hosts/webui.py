"""AUTOMATIC1111's webui or Forge started for tests: headless, offline, on the CPU.

The model has the names of all of SD1's layers and a hundredth of its numbers: the `.yaml` beside a
checkpoint tells AUTOMATIC1111 its widths, and the extension inside/forge_narrow tells Forge. A host
is up in half a minute and draws in seconds.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from selenium.webdriver import Chrome

from tests.browser import wait_for
from tests.hosts.checkouts import Checkout, free_port, host_environment
from tests.hosts.webui_model import tiny_checkpoints, write_forge_configs

STARTED = "Startup time:"
LOADED = "Model loaded in"

VARIABLES = {"OMP_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "0"}
ARGUMENTS = (
    "--skip-prepare-environment",
    "--skip-torch-cuda-test",
    "--skip-python-version-check",
    "--skip-version-check",
    "--no-download-sd-model",
    "--api",
)
ON_CPU = {
    "AUTOMATIC1111": ("--use-cpu=all", "--no-half"),
    "Forge": ("--always-cpu", "--all-in-fp32"),
}

NARROW = Path(__file__).with_name("inside") / "forge_narrow"

V1 = "/lycoris-ext/v1"
SMALL = {"steps": 4, "width": 128, "height": 128, "sampler": "Euler"}


@dataclass
class Webui:
    """A host that is running.

    Args:
        url: without a slash at the end.
        data: its --data-dir.
        log: of everything that it printed.
        process: of the server.
    """

    url: str
    data: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def loras(self) -> Path:
        return self.data / "models" / "Lora"

    def said(self) -> str:
        return self.log.read_text("utf-8", errors="replace")

    def request(
        self,
        path: str,
        content: Any = None,
        *,
        method: str | None = None,
        user: str | None = None,
        headers: Mapping[str, str] | None = None,
        limit: float = 600,
    ) -> tuple[int, Any]:
        """(status, answer) of a route; content is sent as JSON.

        Args:
            path: of the route.
            content: of a POST; None is a GET.
            method: where it is neither.
            user: NAME:PASSWORD.
            headers: more headers, or others.
            limit: seconds.
        """
        body = None if content is None else json.dumps(content).encode("utf-8")
        request = urllib.request.Request(self.url + path, data=body, method=method)
        request.add_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        if user is not None:
            token = base64.b64encode(user.encode("utf-8")).decode("ascii")
            request.add_header("Authorization", f"Basic {token}")
        try:
            with urllib.request.urlopen(request, timeout=limit) as answer:
                return answer.status, _content(answer)
        except urllib.error.HTTPError as error:
            return error.code, _content(error)

    def get(self, path: str, **more: Any) -> Any:
        status, answer = self.request(path, **more)
        assert status == 200, f"{path}: {status} {answer}\n{self.said()[-3000:]}"
        return answer

    def post(self, path: str, content: Any = None, **more: Any) -> Any:
        status, answer = self.request(path, {} if content is None else content, **more)
        assert status == 200, f"{path}: {status} {answer}\n{self.said()[-3000:]}"
        return answer


def _content(answer: Any) -> Any:
    content = answer.read()
    kind = answer.headers.get("Content-Type", "")
    return json.loads(content) if kind.startswith("application/json") else content


@contextmanager
def running(
    checkout: Checkout,
    data: Path,
    extensions: dict[str, Path],
    *arguments: str,
    limit: float = 300,
) -> Iterator[Webui]:
    """A webui with its own data folder, up (AUTOMATIC1111: with its model), for a `with` block.

    Args:
        checkout: of the host; nothing is written into it.
        data: its --data-dir, made if it is not there.
        extensions: name -> folder of each extension; they are linked.
        arguments: more of the command line.
        limit: seconds until it must be up.

    Raises:
        AssertionError: it did not come up; the message ends with what it printed last.
    """
    checkpoints = data / "models" / "Stable-diffusion"
    forge = checkout.host.name == "Forge"
    if not checkpoints.is_dir():
        shutil.copytree(tiny_checkpoints(), checkpoints)
        if forge:
            write_forge_configs(checkpoints / "narrow", checkout.folder)
    (data / "models" / "Lora").mkdir(exist_ok=True)
    (data / "extensions").mkdir(exist_ok=True)
    narrow = {"forge_narrow": NARROW} if forge else {}
    for name, folder in (narrow | extensions).items():
        place = data / "extensions" / name
        if not place.exists():
            place.symlink_to(folder, target_is_directory=True)
    port = free_port()
    log = data / f"log-{port}.txt"
    given = (*ARGUMENTS, *ON_CPU[checkout.host.name], f"--data-dir={data}")
    command = [str(checkout.python), "launch.py", *given]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, f"--port={port}", *arguments],
            cwd=checkout.folder,
            env=host_environment() | {**VARIABLES, "HOME": str(data)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    host = Webui(f"http://127.0.0.1:{port}", data, log, process)
    try:
        # Forge loads its model with the first picture.
        _wait_until_up(host, (STARTED,) if forge else (STARTED, LOADED), limit)
        yield host
    finally:
        process.kill()
        process.wait()


def _wait_until_up(host: Webui, signs: tuple[str, ...], limit: float) -> None:
    started = time.monotonic()
    while True:
        said = host.said()
        if all(sign in said for sign in signs):
            return
        ended = host.process.poll() is not None
        if ended or time.monotonic() - started > limit:
            what = f"exit {host.process.returncode}" if ended else f"not up after {limit:.0f} s"
            raise AssertionError(f"webui: {what}\n{said[-6000:]}")
        time.sleep(0.3)


def draw(host: Webui, *files: str, **asked: Any) -> dict[str, Any]:
    """Draw a grid and wait for its end."""
    asked = {"prompts": ["a cat"], **SMALL, **asked}
    host.post(f"{V1}/grids", {"files": list(files), **asked})
    return wait(host)


def wait(host: Webui, limit: float = 900) -> dict[str, Any]:
    until = time.monotonic() + limit
    while (job := host.get(f"{V1}/job"))["state"] == "running":
        assert time.monotonic() < until, job
        time.sleep(0.1)
    return job


def pixels(path: str | Path) -> bytes:
    with Image.open(path) as picture:
        return picture.convert("RGB").tobytes()


def plain(
    host: Webui,
    prompt: str,
    seed: int = 1,
    negative: str = "",
    settings: Mapping[str, Any] = SMALL,
    **more: Any,
) -> bytes:
    """Return the pixels of a picture that the host's own API draws; `more` are its arguments."""
    answer = host.post(
        "/sdapi/v1/txt2img",
        {
            "prompt": prompt,
            "negative_prompt": negative,
            "seed": seed,
            "steps": settings["steps"],
            "width": settings["width"],
            "height": settings["height"],
            "sampler_name": settings["sampler"],
            **more,
        },
    )
    content = io.BytesIO(base64.b64decode(answer["images"][0]))
    with Image.open(content) as picture:
        return picture.convert("RGB").tobytes()


def open_tab(browser: Chrome, host: Webui) -> None:
    """Load the host's page and go to our tab."""
    browser.get(f"{host.url}/?__theme=light")
    wait_for(browser, "document.querySelectorAll('#tabs > .tab-nav button').length")
    click_tab(browser, "#tabs", "LyCORIS Ext")


def click_tab(browser: Chrome, within: str, title: str) -> None:
    """Click the tab of a title, among the tabs inside a CSS selector."""
    browser.execute_script(
        f"[...document.querySelectorAll('{within} > .tab-nav button')]"
        f".find((each) => each.textContent.trim() === '{title}').click()"
    )

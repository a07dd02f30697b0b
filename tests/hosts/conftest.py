"""Tests inside hosts; `pytest -m hosts tests/hosts --host NAME` also writes a receipt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.errors import EnvironmentFault
from tests.hosts.checkouts import HOSTS, Checkout, check_installed, find_checkout
from tests.hosts.comfyui import Server
from tests.hosts.receipts import described, parts_of, write_receipt
from tests.tiny_pictures import write_pictures


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--host",
        nargs="+",
        choices=[*HOSTS],
        help="run these hosts' tests, fail where a checkout is not named, write their receipts",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Not there when tests/hosts is only found on the way: then nothing is to be written.
    chosen = config.getoption("--host", None)
    if chosen:
        if config.option.keyword or not all(Path(place).is_dir() for place in config.args):
            raise pytest.UsageError("--host writes receipts of all tests: leave out -k and files")
        config.pluginmanager.register(Receipts(chosen))


def host_key(nodeid: str) -> str | None:
    """Return the key of the host of a test, by the name of its file."""
    stem = Path(nodeid.partition("::")[0]).stem
    return next((key for key in HOSTS if f"{stem}_".startswith(f"test_{key}_")), None)


class Receipts:
    """A plugin that runs the tests of the chosen hosts and writes a receipt for each."""

    def __init__(self, chosen: list[str]) -> None:
        self.tests: dict[str, dict[str, dict[str, Any]]] = {key: {} for key in chosen}
        self.checkouts: dict[str, Checkout] = {}
        self.said: list[str] = []
        for key in chosen:
            try:
                self.checkouts[key] = find_checkout(HOSTS[key])
            except EnvironmentFault as fault:
                self.said.append(f"{HOSTS[key].name}: not run. {fault}")

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        others = [item for item in items if host_key(item.nodeid) not in self.checkouts]
        items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=others)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        key = host_key(report.nodeid)
        assert key is not None
        test = self.tests[key].setdefault(
            report.nodeid.rpartition("/")[2], {"outcome": "passed", "seconds": 0.0}
        )
        # What tests share is made before the first of them, and counts as its time.
        test["seconds"] = round(test["seconds"] + report.duration, 1)
        if report.when == "call" or not report.passed:
            test |= {"outcome": report.outcome, **dict(report.user_properties)}
        if report.skipped:
            test["reason"] = report.longrepr[-1].removeprefix("Skipped: ")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        cut_short = session.shouldstop or session.shouldfail or exitstatus > 1
        complete = len(self.checkouts) == len(self.tests)
        for key, checkout in self.checkouts.items():
            tests, name = self.tests[key], checkout.host.name
            self.said += [f"{name}, {line}" for line in described(parts_of(key, tests))]
            bad = sorted(test for test in tests if tests[test]["outcome"] == "failed")
            if bad or cut_short or not tests:
                why = "tests failed" if bad else "cut short" if cut_short else "it has no tests"
                self.said.append(f"{name}: no receipt, {why}")
                complete = False
            else:
                path = write_receipt(key, checkout, tests)
                self.said.append(f"{name}: {len(tests)} tests, receipt {path.name}")
        if not complete:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("hosts")
        for line in self.said:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def sd_scripts() -> Checkout:
    """sd-scripts, with this tree installed in its environment."""
    checkout = find_checkout(HOSTS["sd_scripts"])
    check_installed(checkout)
    return checkout


@pytest.fixture(scope="session")
def comfyui() -> Checkout:
    """ComfyUI; our nodes are put into a folder of each server's own."""
    return find_checkout(HOSTS["comfyui"])


@pytest.fixture(scope="module")
def server(comfyui: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """ComfyUI while it runs, with a checkpoint and folders of pictures."""
    folder = tmp_path_factory.mktemp("comfyui")
    with Server(comfyui, folder) as running:
        running.add_checkpoint()
        for name in ("shapes", "changing", "long"):
            write_pictures(folder / "input" / name, size=(64, 64))
        (folder / "input" / "empty").mkdir()
        yield running


@pytest.fixture(scope="session")
def webui() -> Checkout:
    """AUTOMATIC1111; nothing of ours is installed in its environment."""
    return find_checkout(HOSTS["webui"])


@pytest.fixture(scope="session")
def forge() -> Checkout:
    """Forge; nothing of ours is installed in its environment."""
    return find_checkout(HOSTS["forge"])

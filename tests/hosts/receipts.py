"""Receipts: what a run inside a host was, committed; stale as soon as our code has moved on.

`python -m tests.hosts.receipts` says of each host whether its receipt is of this tree.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.backends.cpu import get_cpu_capability

from tests.hosts.checkouts import HOSTS, ROOT, Checkout, Host, host_environment

FOLDER = Path(__file__).resolve().parent / "receipts"
CORE = "lycoris_ext/"

VERSIONS = """
import json, platform, sys
from importlib.metadata import version
print(json.dumps({"python": platform.python_version()} | {n: version(n) for n in sys.argv[1:]}))
"""


def write_receipt(key: str, checkout: Checkout, tests: dict[str, dict[str, Any]]) -> Path:
    """Write the receipt of a run in which every test passed.

    Args:
        key: of `HOSTS`.
        checkout: where it ran.
        tests: by name: outcome, seconds, and what it recorded.
    """
    outcomes = [test["outcome"] for test in tests.values()]
    receipt = {
        "host": checkout.host.name,
        "commit": host_commit(checkout.folder),
        "system": f"{platform.system()} {platform.machine()}",
        # Ratios of times are those of a kind of processor: AVX512, AVX2, ...
        "processor": get_cpu_capability(),
        "versions": host_versions(checkout),
        "counts": {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
        "parts": parts_of(key, tests),
        "tests": tests,
        "trees": tree_hashes(checkout.host),
    }
    path = FOLDER / f"{key}.json"
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(receipt, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")
    return path


def parts_of(key: str, tests: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Sum the tests of each part up, which are those of one file.

    Args:
        key: of `HOSTS`.
        tests: by name, "FILE.py::TEST".

    Returns:
        The part's name, such as "tools" for test_sd_scripts_tools.py and "" for test_sd_scripts.py
        -> number of tests that ran, seconds of all of them, and why others were left out.
    """
    parts: dict[str, dict[str, Any]] = {}
    for name, test in tests.items():
        stem = name.partition(".py")[0].removeprefix(f"test_{key}").strip("_")
        part = parts.setdefault(stem, {"ran": 0, "seconds": 0.0, "left_out": []})
        part["ran"] += test["outcome"] != "skipped"
        part["seconds"] = round(part["seconds"] + test["seconds"], 1)
        if test["outcome"] == "skipped":
            part["left_out"].append(f"{name.partition('::')[2]}: {test.get('reason', '')}")
    return parts


def described(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return lines that say which parts ran, how long, and what was left out."""
    lines = []
    for name, part in parts.items():
        lines.append(f"{name or 'the rest'}: {part['ran']} ran in {part['seconds']:.0f} s")
        lines += [f"{name or 'the rest'}: left out {text}" for text in part["left_out"]]
    total = sum(part["seconds"] for part in parts.values())
    return [*lines, f"all parts: {total / 60:.1f} minutes"]


def tree_hashes(host: Host, root: Path = ROOT) -> dict[str, str]:
    """git's hashes of a host's adapter and of each part of the core, as a commit would have them.

    Once committed, `git rev-parse HEAD:lycoris_ext/network` answers the same.
    """
    with tempfile.TemporaryDirectory() as folder:
        objects = (root / _git(root, "rev-parse", "--git-path", "objects")).resolve()
        # What is not committed is hashed in an index and a store that are thrown away.
        aside = {
            "GIT_INDEX_FILE": str(Path(folder) / "index"),
            "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        _git(root, "read-tree", "HEAD", **aside)
        _git(root, "-c", "core.safecrlf=false", "add", "--all", host.adapter, CORE, **aside)
        tree = _git(root, "write-tree", **aside)
        listing = _git(root, "ls-tree", tree, host.adapter, CORE, **aside)
    hashes = {}
    for line in listing.splitlines():
        described, name = line.split("\t")
        hashes[name] = described.split()[2]
    return hashes


def moved(receipt: dict[str, Any], host: Host, root: Path = ROOT) -> list[str]:
    """Return the parts whose hashes are no longer those of the receipt."""
    then, now = receipt["trees"], tree_hashes(host, root)
    return sorted(name for name in {*then, *now} if then.get(name) != now.get(name))


def state(key: str, folder: Path = FOLDER, root: Path = ROOT) -> str:
    """Return a line that says whether the receipt of a host is of this tree."""
    host, path = HOSTS[key], folder / f"{key}.json"
    if not path.is_file():
        return f"{host.name}: no receipt"
    receipt = json.loads(path.read_text(encoding="utf-8"))
    changed = moved(receipt, host, root)
    if changed:
        return f"{host.name}: receipt STALE, moved since: {', '.join(changed)}"
    counts = ", ".join(f"{count} {outcome}" for outcome, count in receipt["counts"].items())
    return f"{host.name}: receipt of this tree ({counts}; host at {receipt['commit'][:8]})"


def host_commit(folder: Path) -> str:
    """Return the commit of a checkout, marked if its files are not those of the commit."""
    try:
        if Path(_git(folder, "rev-parse", "--show-toplevel")).resolve() != folder:
            return "unknown"
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return _git(folder, "rev-parse", "HEAD") + (", changed" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # unpacked from an archive


def host_versions(checkout: Checkout) -> dict[str, str]:
    """Return the versions of Python and of the packages that matter in the host's environment."""
    done = subprocess.run(
        [str(checkout.python), "-c", VERSIONS, *checkout.host.packages],
        env=host_environment(),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


def _git(folder: Path, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout.strip()


def main() -> int:
    for key in HOSTS:
        print(state(key))
    return 0


if __name__ == "__main__":
    sys.exit(main())

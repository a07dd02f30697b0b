"""Writes sd_scripts_models.json: the models of every family that sd-scripts trains, as trees, and
how many layers its network modules and ours adapt in them.

    python -m tests.oracles.sd_scripts_models

Needs SD_SCRIPTS_DIR (docs/hosts/kohya.md). Tests read the file where there is no checkout.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.hosts.checkouts import HOSTS, Checkout, check_installed, find_checkout, run_script

INSIDE = Path(__file__).resolve().parents[1] / "hosts" / "inside" / "sd_scripts_families.py"
FILE = Path(__file__).with_suffix(".json")
FAMILIES = (
    "sd1", "sd2", "sdxl", "sd3", "sd3.5-medium", "sd3.5-large", "flux", "chroma", "lumina",
    "hunyuan-image", "anima",
)  # fmt: skip


def ask(checkout: Checkout, family: str) -> dict[str, Any]:
    """Return what the script inside sd-scripts finds of a family, names as a count and a hash."""
    run = run_script(checkout, INSIDE, family)
    found: dict[str, Any] = json.loads(run.output.splitlines()[-1])
    more = sorted(set(found["ours"]) - set(found["theirs"]))
    missing = sorted(set(found["theirs"]) - set(found["ours"]))
    trees = found.pop("trees")
    return {
        **{who: digest(names) for who, names in found.items()},
        "theirs without ours": missing,
        "ours without theirs": len(more),
        "trees": trees,
    }


def digest(names: list[str]) -> dict[str, Any]:
    """Return the number of names, and a sha256 over the sorted names, one a line."""
    text = "\n".join(sorted(names))
    return {"layers": len(names), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def main() -> None:
    checkout = find_checkout(HOSTS["sd_scripts"])
    check_installed(checkout)
    families = {family: ask(checkout, family) for family in FAMILIES}
    lines = ",\n".join(f'"{family}": {json.dumps(found)}' for family, found in families.items())
    FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

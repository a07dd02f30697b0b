"""A pinned version with a known hole, without a hash or under an unknown licence is refused."""

from __future__ import annotations

from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lycoris_ext.cli.advisories import ADVISORIES, known_holes
from lycoris_ext.config.imports.documents import parse_toml_document
from tests.packaging import audit

ROOT = Path(__file__).resolve().parents[2]
HASH = "    --hash=sha256:" + 64 * "0"


def faults(constraints: str, hashes: str | None = None) -> list[str]:
    """Return what is not allowed about some pins; by default each has a hash."""
    if hashes is None:
        hashes = "".join(f"{line} \\\n{HASH}\n" for line in constraints.splitlines())
    return [fault for row in audit.audited(constraints, hashes) for fault in row.faults]


def test_the_pins_of_this_tree_are_allowed() -> None:
    rows = list(
        audit.audited(audit.CONSTRAINTS.read_text("utf-8"), audit.HASHES.read_text("utf-8"))
    )
    assert [row for row in rows if row.faults] == []
    assert {"torch", "pillow", "safetensors", "transformers"} <= {row.package for row in rows}
    assert sum(bool(row.licence) for row in rows) > 50


@pytest.mark.parametrize(
    ("pin", "hole"),
    [
        ("Pillow==9.5.0", "CVE-2023-4863"),
        ("pillow==12.1.0", "CVE-2026-25990"),
        ("torch==2.5.1", "CVE-2025-32434"),
        ("transformers==5.2.0", "CVE-2026-4372"),
        ('urllib3==2.5.0; python_version < "3.11"', "CVE-2026-21441"),
    ],
)
def test_a_pin_with_a_known_hole_is_refused(pin: str, hole: str) -> None:
    assert any(hole in fault for fault in faults(pin))


def test_versions_before_and_after_a_hole_are_allowed() -> None:
    allowed = [("pillow", "13.0.0"), ("torch", "2.13.0+cpu"), ("transformers", "5.3.0")]
    assert [hole for pin in allowed for hole in known_holes(*pin)] == []
    holes = {hole.id for hole in known_holes("transformers", "4.54.1")}
    assert "CVE-2026-4372" not in holes and "CVE-2026-1839" in holes
    assert not list(known_holes("torch", "a build of my own"))


def test_a_pin_without_a_hash_and_a_hash_without_a_pin_are_refused() -> None:
    assert faults("idna==3.20", "") == ["no hash in hashes.txt"]
    assert faults("", f"idna==3.20 \\\n{HASH}\n") == ["in hashes.txt and not in constraints.txt"]
    assert faults("idna==3.20", f"idna==3.19 \\\n{HASH}\n") == [
        "no hash in hashes.txt",
        "in hashes.txt and not in constraints.txt",
    ]
    assert faults("torch==2.13.0", "") == []


@pytest.mark.parametrize(
    ("fields", "licence", "refused"),
    [
        ({"License-Expression": "MIT AND (Apache-2.0 OR BSD-2-Clause)"}, None, []),
        ({"License-Expression": "Apache-2.0 WITH LLVM-exception"}, None, []),
        ({"License-Expression": "MIT AND AGPL-3.0-only"}, None, ["AGPL-3.0-only"]),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, "MIT", []),
        ({"License": "Apache 2.0 License"}, "Apache-2.0", []),
        ({"License": "GPLv3"}, "GPLv3", ["GPLv3"]),
        ({}, "", [""]),
    ],
)
def test_licences_are_read_from_every_field(
    fields: dict[str, str], licence: str | None, refused: list[str]
) -> None:
    metadata = Message()
    for name, value in fields.items():
        metadata[name] = value
    found = audit.licence_of(metadata)  # type: ignore[arg-type]
    assert found == (fields.get("License-Expression") if licence is None else licence)
    assert audit.unknown(found) == refused


def bounds(extra: str) -> dict[str, SpecifierSet]:
    """Return package -> allowed versions, of an extra of pyproject.toml; "" for the base."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    project: Any = parse_toml_document(text, "pyproject.toml")["project"]
    listed = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {wanted.name: wanted.specifier for wanted in map(Requirement, listed)}


def test_the_extra_for_training_allows_no_version_with_a_hole_that_files_reach() -> None:
    allowed = bounds("") | bounds("train")
    tried = {
        "pillow": ["9.5.0", "10.0.0", "10.2.0", "11.2.1", "12.1.0"],
        "transformers": ["4.56.0", "4.56.2", "4.57.6", "5.0.0", "5.1.0", "5.2.0"],
        "tqdm": ["4.66.2"],
    }
    assert {advisory.package for advisory in ADVISORIES if advisory.reached} <= set(tried)
    for package, versions in tried.items():
        assert all(list(known_holes(package, version)) for version in versions)
        assert not list(allowed[package].filter(versions))


HOSTS = {
    "AUTOMATIC1111": ("", {"torch": "2.1.2", "safetensors": "0.4.2", "pillow": "9.5.0"}),
    "Forge": ("", {"torch": "2.3.1", "safetensors": "0.4.2", "pillow": "9.5.0"}),
    "sd-scripts": ("train", {"transformers": "4.54.1", "diffusers": "0.32.1", "accelerate": "1.6"}),
}


@pytest.mark.parametrize("host", HOSTS)
def test_the_versions_that_hosts_pin_are_allowed(host: str) -> None:
    extra, pinned = HOSTS[host]
    allowed = bounds(extra)
    assert [name for name, version in pinned.items() if version not in allowed[name]] == []


def test_every_advisory_has_a_source_and_affects_something() -> None:
    for advisory in ADVISORIES:
        assert advisory.id.startswith("CVE-") and advisory.id in advisory.source
        assert not advisory.what.endswith(".") and not advisory.affects("99999")
        assert advisory.package == advisory.package.lower()

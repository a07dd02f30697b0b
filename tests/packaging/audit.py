"""List the pinned packages with their licences and known holes, and refuse what is not allowed.

    python -m tests.packaging.audit

Run by `make check`, without a network: the holes are those of lycoris_ext/cli/advisories.py, the
licences what the installed packages declare. A package that is not installed here (another Python,
another system, an extra that the tests do not need) is listed without its licence.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageMetadata, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from lycoris_ext.cli.advisories import READ, known_holes

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
HASHES = ROOT / "hashes.txt"
UNHASHED = {"torch"}
"""Every kind of computer has its own build of it, from an index of its own."""

PERMISSIVE = frozenset(
    {"0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0"}
    | {"CNRI-Python", "ISC", "LLVM-exception", "MIT", "MIT-CMU", "PSF-2.0", "Zlib"}
)
"""Those that ask for nothing but their text."""
FILE_BY_FILE = frozenset({"MPL-2.0"})
"""Changes of its own files must be published; what is used with them is free."""
SPELLINGS = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd license": "BSD",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
"""What packages write in place of the names that SPDX gives to licences."""

IN_ITS_FILE = {"resvg-py": "MIT"}
"""Packages that declare no licence and bring its text."""


@dataclass(frozen=True)
class Row:
    """A pinned package.

    Args:
        package, version: as pinned.
        licence: what it declares, in SPDX's names; "" if it is not installed here.
        faults: what is not allowed about it.
    """

    package: str
    version: str
    licence: str
    faults: tuple[str, ...]


def main() -> int:
    rows = list(audited(CONSTRAINTS.read_text("utf-8"), HASHES.read_text("utf-8")))
    widths = [max(len(row.package) for row in rows), max(len(row.version) for row in rows)]
    for row in rows:
        told = "; ".join(row.faults) or "no known hole"
        licence = row.licence or "not installed here"
        print(f"{row.package:<{widths[0]}}  {row.version:<{widths[1]}}  {licence}; {told}")
    bad = [row for row in rows if row.faults]
    print(f"{len(rows)} pins, {len(bad)} not allowed; advisories read up to {READ}")
    return 1 if bad else 0


def audited(constraints: str, hashes: str) -> Iterator[Row]:
    """Yield a row for each pin.

    Args:
        constraints: the content of constraints.txt.
        hashes: the content of hashes.txt.
    """
    hashed = set(pins(hashes))
    for package, version in pins(constraints):
        faults = [f"{hole.id}: {hole.what}" for hole in known_holes(package, version)]
        if (package, version) not in hashed and package not in UNHASHED:
            faults.append(f"no hash in {HASHES.name}")
        licence = ""
        if (found := installed(package)) is not None:
            licence = licence_of(found.metadata) or IN_ITS_FILE.get(package, "")
            faults += [f"its licence {name!r} is not allowed" for name in unknown(licence)]
        yield Row(package, version, licence, tuple(faults))
    for package, version in sorted(hashed - set(pins(constraints))):
        yield Row(package, version, "", (f"in {HASHES.name} and not in {CONSTRAINTS.name}",))


def pins(text: str) -> Iterator[tuple[str, str]]:
    """Yield (package, version) of the pinned requirements in a file of pip."""
    for line in text.splitlines():
        bare = line.partition("#")[0].strip().removesuffix("\\").strip()
        try:
            wanted = Requirement(bare)
        except InvalidRequirement:  # a hash, an option or an empty line
            continue
        (exact,) = wanted.specifier
        yield canonicalize_name(wanted.name), exact.version


def installed(package: str) -> Distribution | None:
    try:
        return distribution(package)
    except PackageNotFoundError:
        return None


def licence_of(metadata: PackageMetadata) -> str:
    """Return a package's licence in SPDX's names, from the newest of the three fields for it."""
    if expression := metadata.get("License-Expression"):
        return str(expression)
    told = metadata.get_all("Classifier") or []
    named = [text.rpartition(" :: ")[2] for text in told if text.startswith("License ::")]
    text = str(metadata.get("License") or "").partition("\n")[0].strip()
    return " OR ".join(SPELLINGS.get(name.lower(), name) for name in named or [text])


def unknown(licence: str) -> list[str]:
    """Return the parts of a licence that are on neither list; all of it if there are no parts."""
    parts = [part.strip() for part in re.split(r"\b(?:AND|OR|WITH)\b|[()]", licence)]
    named = [part for part in parts if part] or [licence]
    return [part for part in named if part not in PERMISSIVE | FILE_BY_FILE]


if __name__ == "__main__":
    sys.exit(main())

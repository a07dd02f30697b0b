"""Findings: what is wrong or notable in a data set, collected first and then reported together.

Every finding has a code such as LX003, which keeps its meaning for ever, so that users can look it
up; docs/data.md lists all codes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from lycoris_ext.errors import DataError, together
from lycoris_ext.printable import printable
from lycoris_ext.words import and_more, count

Severity = Literal["error", "warning", "note"]
"""error: training cannot start; warning: training starts, but something is probably not as the
user meant it; note: good to know."""

LISTED = 10
"""Number of files that an error names; it only counts further ones."""
NAMED = 3
"""Number of files that a warning or note names, because it takes only one line."""


class Location(NamedTuple):
    """A file or folder that a finding is about.

    Attributes:
        path: of the file or folder.
        detail: something about this file alone, such as why it cannot be read.
    """

    path: Path
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong or notable in a data set.

    Args:
        code: tells the kind of finding, such as "LX003".
        severity: "error", "warning" or "note".
        where: all files or folders concerned.
        what: the finding in a sentence, without the full stop.
        fix: what the user should do, in the imperative; "" if nothing is to be done.
    """

    code: str
    severity: Severity
    where: tuple[Location, ...]
    what: str
    fix: str = ""

    def text(self) -> str:
        """Return `what` with the path of the file; of several files with the names of the first."""
        if len(self.where) == 1:
            ((path, detail),) = self.where
            return f"{self.what}: {_with_detail(str(path), detail)}"
        names = and_more((_with_detail(path.name, detail) for path, detail in self.where), NAMED)
        return f"{self.what}: {names}" if names else self.what

    def line(self) -> str:
        """Return the finding in one line: severity, code, text and fix."""
        line = f"{self.severity} {self.code}: {self.text()}"
        return printable(f"{line} -> {self.fix}" if self.fix else line).replace("\n", " ")

    def as_error(self) -> DataError:
        """Return the finding as an error whose message lists the full paths of the first files."""
        paths = [(str(path).replace("\n", "\\n"), detail) for path, detail in self.where]
        rows = [f"{path}: {detail}" if detail else path for path, detail in paths]
        if len(rows) > LISTED:
            rows = [*rows[:LISTED], f"and {len(rows) - LISTED} more"]
        heading = f"{self.what} [{self.code}]" + (":" if rows else "")
        return DataError("\n  ".join([heading, *rows]), fix=self.fix or None)


@dataclass(frozen=True)
class Code:
    """A kind of finding, which a data rule declares.

    Args:
        name: such as "LX003".
        severity: of its findings, unless `finding` is given another one.
        meaning: one sentence for users who look the code up.
    """

    name: str
    severity: Severity
    meaning: str

    def finding(
        self,
        where: Iterable[Path | Location],
        what: str,
        fix: str = "",
        severity: Severity | None = None,
    ) -> Finding:
        """Make a finding of this kind; the arguments are those of `Finding`."""
        locations = tuple(
            location if isinstance(location, Location) else Location(location) for location in where
        )
        return Finding(self.name, severity or self.severity, locations, what, fix)


def _with_detail(name: str, detail: str) -> str:
    return f"{name} ({detail})" if detail else name


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Return one line for each finding, to print."""
    return [finding.line() for finding in findings]


def counts(findings: Iterable[Finding]) -> str:
    """Return how many findings there are: "0 errors, 1 warning, 3 notes"."""
    found = Counter(one.severity for one in findings)
    return ", ".join(count(found[name], name) for name in ("error", "warning", "note"))


def raise_if_errors(findings: Iterable[Finding]) -> None:
    """Raise one error that lists all findings with severity "error"; do nothing if there are none.

    Raises:
        DataError: at least one finding is an error.
    """
    errors = [finding.as_error() for finding in findings if finding.severity == "error"]
    if errors:
        raise together(errors)

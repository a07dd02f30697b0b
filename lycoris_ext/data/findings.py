"""What is wrong or notable in a data set: collected first, then reported together.

Every finding has a code such as LX003. A code keeps its meaning for ever and is never given to
another one, so that it can be looked up, silenced and talked about; docs/data.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from lycoris_ext.errors import DataError, together
from lycoris_ext.words import and_more

Severity = Literal["error", "warning", "note"]
"""error: training cannot start; warning: it starts, probably not as it was meant; note: good to
know."""

LISTED = 10
"""How many files an error names before it only counts them."""
NAMED = 3
"""The same for a warning or note, which takes one line."""


class Location(NamedTuple):
    """A file or folder that a finding is about.

    Attributes:
        path: of the file or folder.
        detail: what holds for this one alone, such as why it cannot be read.
    """

    path: Path
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong or notable in a data set.

    Args:
        code: of the kind of finding, such as "LX003".
        severity: "error", "warning" or "note".
        where: the files or folders concerned, all of them.
        what: what was found, a sentence without its full stop.
        fix: what to do about it, in the imperative; empty where nothing is to be done.
    """

    code: str
    severity: Severity
    where: tuple[Location, ...]
    what: str
    fix: str = ""

    def text(self) -> str:
        """What was found, with the path of one file or the names of the first few."""
        if len(self.where) == 1:
            return f"{self.what}: {self.where[0].path}"
        names = and_more((location.path.name for location in self.where), NAMED)
        return f"{self.what}: {names}" if names else self.what

    def line(self) -> str:
        """The whole finding in one line."""
        line = f"{self.severity} {self.code}: {self.text()}"
        return f"{line} -> {self.fix}" if self.fix else line

    def as_error(self) -> DataError:
        """The finding as an error that names the first files with their whole paths."""
        rows = [f"{path}: {detail}" if detail else str(path) for path, detail in self.where]
        if len(rows) > LISTED:
            rows = [*rows[:LISTED], f"and {len(rows) - LISTED} more"]
        heading = f"{self.what} [{self.code}]" + (":" if rows else "")
        return DataError("\n  ".join([heading, *rows]), fix=self.fix or None)


@dataclass(frozen=True)
class Code:
    """A kind of finding.

    Args:
        name: such as "LX003".
        severity: what its findings are, unless one says otherwise.
        meaning: one sentence for everybody who looks the code up.
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
        """A finding of this kind; see there for the arguments."""
        locations = tuple(
            location if isinstance(location, Location) else Location(location) for location in where
        )
        return Finding(self.name, severity or self.severity, locations, what, fix)


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """One line for each finding, to print."""
    return [finding.line() for finding in findings]


def raise_if_errors(findings: Iterable[Finding]) -> None:
    """Raise one error that says everything that is wrong, where anything is.

    Raises:
        DataError: at least one finding is an error.
    """
    errors = [finding.as_error() for finding in findings if finding.severity == "error"]
    if errors:
        raise together(errors)

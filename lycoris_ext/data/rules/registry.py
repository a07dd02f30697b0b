"""The table of all data rules, by their codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lycoris_ext.data.findings import Code, Finding
from lycoris_ext.data.scan import Scan

Find = Callable[[Scan], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """A data rule: the code of its findings, and the function that finds them."""

    code: Code
    find: Find


_RULES: dict[str, Rule] = {}


def rule(code: Code) -> Callable[[Find], Find]:
    """Register the decorated function as a data rule.

    Args:
        code: of its findings.

    Raises:
        ValueError: another rule has this code.
    """

    def register(find: Find) -> Find:
        if code.name in _RULES:
            raise ValueError(f"{code.name} is taken by {_RULES[code.name].find.__name__}")
        _RULES[code.name] = Rule(code, find)
        return find

    return register


def remove_rule(name: str) -> None:
    """Remove the rule with this code from the table; KeyError if there is none."""
    del _RULES[name]


def all_rules() -> list[Rule]:
    """Return every registered rule, sorted by code."""
    return [_RULES[name] for name in sorted(_RULES)]


def find_all(scan: Scan) -> tuple[Finding, ...]:
    """Ask all rules about a data set, and return their findings sorted by code."""
    return tuple(finding for known in all_rules() for finding in known.find(scan))

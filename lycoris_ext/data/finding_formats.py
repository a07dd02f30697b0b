"""Findings as JSON, and as SARIF, which code hosts and editors show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lycoris_ext import __version__
from lycoris_ext.data.findings import Code, Finding

_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
_PAGE = "docs/data.md#findings"


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings as dictionaries with code, severity, what, fix and where."""
    return [
        {
            "code": one.code,
            "severity": one.severity,
            "what": one.what,
            "fix": one.fix,
            "where": [{"path": str(path), "detail": detail} for path, detail in one.where],
        }
        for one in findings
    ]


def as_sarif(findings: Sequence[Finding], codes: Iterable[Code]) -> dict[str, Any]:
    """Return findings as a log of SARIF 2.1.0.

    Args:
        findings: what was found.
        codes: of all rules, with their meanings.

    Source: OASIS, Static Analysis Results Interchange Format 2.1.0.
    """
    driver = {
        "name": "lycoris-ext",
        "version": __version__,
        "rules": [
            {
                "id": code.name,
                "shortDescription": {"text": code.meaning},
                "defaultConfiguration": {"level": code.severity},
                "helpUri": _PAGE,
            }
            for code in codes
        ],
    }
    return {
        "$schema": _SARIF,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": [_result(one) for one in findings]}],
    }


def _result(one: Finding) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": one.code,
        "level": one.severity,
        "message": {"text": f"{one.what}. {one.fix}." if one.fix else f"{one.what}."},
    }
    if one.where:
        result["locations"] = [_location(path, detail) for path, detail in one.where]
    return result


def _location(path: Path, detail: str) -> dict[str, Any]:
    uri = path.absolute().as_uri() if path.is_absolute() else path.as_posix()
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": uri}}}
    return {**location, "message": {"text": detail}} if detail else location

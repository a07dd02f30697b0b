"""`lycoris-ext check CONFIG|DIR`: find what is wrong or notable in a data set."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import partial

from lycoris_ext.cli.arguments.check import parser
from lycoris_ext.cli.dataset.reading import caption_limit, data_config
from lycoris_ext.cli.exit_codes import DONE, exit_code
from lycoris_ext.data import Code, Finding, examine, finding_lines
from lycoris_ext.data.finding_formats import as_json, as_sarif
from lycoris_ext.data.findings import counts
from lycoris_ext.data.kept_checks import KeptChecks, measures_folder
from lycoris_ext.data.rules import all_rules
from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.sampling.progress import counting_pictures
from lycoris_ext.words import table

_FAILED = exit_code(DataError("the data set has errors"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print findings, or what codes mean; return the exit code."""
    options = parser().parse_args(arguments)
    codes = {rule.code.name: rule.code for rule in all_rules()}
    if options.explain:
        print("\n".join(_explained(_known(options.explain, codes))))
        return DONE
    if options.list:
        rows = [(code.name, code.severity, code.meaning) for code in codes.values()]
        print("\n".join(table(rows, left=(0, 1, 2))))
        return DONE
    if options.place is None:
        raise ConfigError(
            "nothing is given to check",
            where="lycoris-ext check",
            fix="name a config, or a folder of pictures",
        )
    silenced = {_known(name, codes).name for name in options.silence}
    findings = [one for one in _find(options) if one.code not in silenced or _is_error(one)]
    _print(findings, codes.values(), options.format, options.place)
    counted = Counter(one.severity for one in findings)
    return _FAILED if counted["error"] or (options.strict and counted["warning"]) else DONE


def _find(options: argparse.Namespace) -> tuple[Finding, ...]:
    config = data_config(options.place)
    kept = KeptChecks(measures_folder(config.data), again=options.again)
    scan = examine(
        config.data,
        partial(counting_pictures, "checking"),
        token_limit=caption_limit(options.place, config),
        place=options.place,
        seed=config.run.seed,
        kept=kept,
    )
    for line in kept.told():
        print(line, file=sys.stderr)
    return scan.findings


def _is_error(one: Finding) -> bool:
    return one.severity == "error"


def _print(findings: Sequence[Finding], codes: Iterable[Code], form: str, place: object) -> None:
    if form == "sarif":
        print(json.dumps(as_sarif(findings, codes), ensure_ascii=False, indent=2))
        return
    if form == "json":
        print(json.dumps({"findings": as_json(findings)}, ensure_ascii=False, indent=2))
        return
    for line in finding_lines(findings):
        print(line)
    print(f"{place}: {counts(findings)}")


def _explained(code: Code) -> list[str]:
    silent = (
        "an error cannot be silenced"
        if code.severity == "error"
        else (f"--silence {code.name} leaves it out")
    )
    return [f"{code.name} ({code.severity})", code.meaning, silent]


def _known(name: str, codes: dict[str, Code]) -> Code:
    if name.upper() in codes:
        return codes[name.upper()]
    near = get_close_matches(name.upper(), codes, n=1)
    raise ConfigError(
        f"there is no code {name!r}",
        where="lycoris-ext check",
        fix=f"did you mean {near[0]}?" if near else "lycoris-ext check --list names them all",
    )

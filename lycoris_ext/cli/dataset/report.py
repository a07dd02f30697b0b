"""`lycoris-ext dataset report DIR|CONFIG`: count what a data set holds."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from lycoris_ext.cli.dataset.reading import caption_limit, data_config
from lycoris_ext.data import TokenLimit, examine, finding_lines
from lycoris_ext.data.folders import find_roots
from lycoris_ext.data.kept_checks import KeptChecks, measures_folder
from lycoris_ext.data.report import Amount, Report, make_report
from lycoris_ext.pages.dataset.page import check_place, write_report_page
from lycoris_ext.sampling.progress import counting_pictures
from lycoris_ext.words import count, short, table

SHOWN = 20
"""Number of rows of each table; --json and --html have them all."""


def main(options: argparse.Namespace) -> int:
    """Print a report, or write it as a page; return the exit code."""
    asked: Path = options.place
    config = data_config(asked)
    if options.html is not None:
        roots = [root.path for root in find_roots(config.data)]
        check_place(options.html, [*roots, asked] if asked.is_dir() else roots)
    limit = caption_limit(asked, config)
    kept = KeptChecks(measures_folder(config.data) if options.check else None)
    scan = examine(
        config.data,
        partial(counting_pictures, "checking"),
        open_pictures=options.check,
        token_limit=limit,
        place=asked,
        seed=config.run.seed,
        kept=kept,
    )
    for line in kept.told():
        print(line, file=sys.stderr)
    with counting_pictures("reading", len(scan.pictures)) as progress:
        report = make_report(scan, asked, progress)
    if options.html is not None:
        print(f"written: {_page(options, report, scan.token_limit)}")
    elif options.json:
        print(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        print("\n".join(_as_text(report)))
    return 0


def _page(options: argparse.Namespace, report: Report, limit: TokenLimit | None) -> Path:
    most = options.pictures
    total = min(most, len(report.pictures))
    with counting_pictures("small copies", total) as progress:
        return write_report_page(options.html, report, most=most, limit=limit, progress=progress)


def _as_text(report: Report) -> Iterator[str]:
    whole = report.whole
    yield f"{report.folder}: {count(whole.pictures, 'picture')}, {_samples(whole)} in an epoch"
    if report.regularisation.pictures:
        yield f"regularisation: {count(report.regularisation.pictures, 'picture')}"
    if report.held_out.pictures:
        yield f"held out for validation: {count(report.held_out.pictures, 'picture')}"
    yield ""
    levels = [
        ("  " * len(one) + (one[-1] if one else "all"), a) for one, a in report.levels.items()
    ]
    yield from _amounts("level", levels, whole, len(levels))
    if report.concepts:
        yield ""
        in_domains = [
            (f"{concept} ({', '.join(sorted(filter(None, report.domains[concept])))})", amount)
            for concept, amount in report.concepts.items()
        ]
        yield from _amounts("concept (where)", in_domains, whole)
    if report.together:
        yield ""
        together = [(" + ".join(both), amount) for both, amount in report.together.items()]
        yield from _amounts("together", together, whole)
    yield ""
    buckets = [(f"{width}x{height}", amount) for (width, height), amount in report.buckets.items()]
    yield from _amounts("bucket", buckets, whole)
    lost = [one for one in report.pictures if one.lost >= 0.25]
    if lost:
        yield f"{count(len(lost), 'picture loses', 'pictures lose')} a quarter or more to the crop"
    yield ""
    yield from _amounts("tag", [(short(t, 40), a) for t, a in report.tags.items()], whole)
    if report.tokens:
        lengths = (f"{low}-{low + 24}: {number}" for low, number in report.tokens.items())
        yield f"tokens of captions: {', '.join(lengths)}"
    if report.uncaptioned:
        yield f"{count(report.uncaptioned, 'picture has', 'pictures have')} no caption"
    if report.findings:
        yield ""
        yield from finding_lines(report.findings)


def _samples(amount: Amount) -> str:
    return count(round(amount.samples), "sample")


def _amounts(
    name: str, amounts: Sequence[tuple[str, Amount]], whole: Amount, shown: int = SHOWN
) -> Iterator[str]:
    rows = [[name, "pictures", "samples", "share"]]
    for text, amount in amounts[:shown]:
        share = amount.samples / (whole.samples or 1)
        rows.append([text, f"{amount.pictures:,}", f"{amount.samples:,.0f}", f"{share:.1%}"])
    yield from table(rows)
    if len(amounts) > shown:
        yield f"and {len(amounts) - shown:,} more"

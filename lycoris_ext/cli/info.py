"""`lycoris-ext info FILE`: describe an adapter file and check its tensors against its hash."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from textwrap import wrap

from lycoris_ext.algorithms import algorithm, algorithm_names
from lycoris_ext.cli.arguments.info import parser
from lycoris_ext.formats.hashes import HASH_KEY
from lycoris_ext.formats.metadata import HEADINGS, json_object
from lycoris_ext.formats.summary import AdapterSummary, LayerGroup, summarize
from lycoris_ext.words import count, file_size, one_line, short

_VALUE_WIDTH = 88


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a description of an adapter file; return the exit code."""
    options = parser().parse_args(arguments)
    summary = summarize(options.file)
    if options.json:
        print(json.dumps(asdict(summary), ensure_ascii=False, indent=2))
    else:
        # A reader of a pipe or a file gets whole values.
        width = _VALUE_WIDTH if sys.stdout.isatty() else None
        print("\n".join(describe(summary, width)))
    return 0


def describe(summary: AdapterSummary, width: int | None = None) -> list[str]:
    """Return the lines that describe an adapter file to the user.

    Args:
        summary: of the file.
        width: longer values are cut to this many characters; None: they are not cut.
    """
    check = summary.hash
    if check.agrees is None:
        other = "one of lycoris-lora's own kind is" if check.stored else "none is"
        if check.stored and not check.stored.startswith("0x"):
            other = "what is no SHA-256 is"
        hash_line = f"{check.computed[:12]} ({other} stored, nothing to compare with)"
    elif check.agrees:
        hash_line = f"{check.computed[:12]} (as stored: the tensors are unchanged since saving)"
    else:
        hash_line = (
            f"{check.computed[:12]}, but {check.stored[:12]} is stored: the tensors were changed "
            "after saving"
        )
    rows = [
        ("file", f"{summary.path}, {file_size(summary.bytes)}"),
        ("algorithm", ", ".join(summary.algorithms)),
        *(("trained as", words) for words in _trained_as(summary.metadata)),
        ("keys", " and ".join(summary.keys)),
        ("modules", ", ".join(f"{target} {n}" for target, n in summary.modules.items())),
    ]
    rows += [
        ("" if index else "dims", _describe_group(group))
        for index, group in enumerate(summary.layers)
    ]
    rows += [
        ("parameters", f"{summary.parameters:,} in {', '.join(summary.dtypes)}"),
        ("hash", hash_line),
    ]
    if summary.embeddings:
        rows.append(("embeddings", f"{', '.join(summary.embeddings)} (textual inversions)"))
    if summary.triggers:
        rows.append(("trigger words", ", ".join(summary.triggers)))
    notes = [
        piece
        for line in (*summary.doubts, *summary.misread_by)
        for piece in (wrap(line, width, subsequent_indent="  ") if width else [line])
    ]
    # sd-scripts writes "None" for every option that was not used.
    rest = {
        key: value
        for key, value in summary.metadata.items()
        if key != HASH_KEY and value not in ("None", "")
    }
    last = [("metadata", "" if rest else "none")]
    last += [(f"  {heading}", rest.pop(key)) for key, heading in HEADINGS.items() if key in rest]
    last += [(f"  {key}", value) for key, value in rest.items()]
    lines = [
        *(_clean(row, width) for row in rows),
        *(("" if index else "note", piece) for index, piece in enumerate(notes)),
        *(_clean(row, width) for row in last),
    ]
    wide = max(len(name) for name, _ in lines)
    return [f"{name:<{wide}}  {value}".rstrip() for name, value in lines]


def _clean(row: tuple[str, str], width: int | None) -> tuple[str, str]:
    """Shorten a row, and remove the escape sequences that a hostile file may hold."""
    return one_line(row[0]), short(row[1], width or len(row[1]))


def _describe_group(group: LayerGroup) -> str:
    words = [f"{group.algorithm}{' with Tucker core' if group.tucker else ''}"]
    if group.rank:
        words.append(f"rank {group.rank}, alpha {group.alpha:g}")
    return f"{', '.join((*words, *group.form))}: {count(group.modules, 'module')}"


def _trained_as(metadata: Mapping[str, str]) -> Iterator[str]:
    """Yield the training algorithm with its options, if it writes the tensors of another one.

    Such an algorithm, T-LoRA for example, can be seen only in the metadata.
    """
    recorded = json_object(metadata.get("ss_network_args", ""))
    name = str(recorded.get("algo"))
    if name in algorithm_names() and algorithm(name).trains:
        options = [option for option in sorted(recorded) if algorithm(name).reads(option)]
        yield ", ".join([name, *(f"{option} {recorded[option]}" for option in options)])

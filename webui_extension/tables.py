"""What the tab shows as tables. Every text comes from a stranger's file and is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from lycoris_ext.formats.metadata import HEADINGS
from lycoris_ext.grids.checkpoints import Checkpoint, RunFiles
from lycoris_ext.words import file_size, short

_HASH = 12
#: Metadata that are shown as something else, or as nothing.
_ELSEWHERE = ("ss_tag_frequency", "ss_bucket_info", "ssmd_cover_images", "modelspec.thumbnail")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table of texts."""
    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    return f'<table class="lycoris-ext"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def paragraph(text: str, kind: str = "") -> str:
    """A text with its line breaks; kind: "good" or "bad"."""
    return f'<p class="lycoris-ext {escape(kind)}">{escape(text)}</p>'


def run_table(run: RunFiles) -> str:
    """The checkpoints of a run, and what was refused."""
    rows = [
        (
            short(c.name, 80),
            "" if c.step is None else str(c.step),
            c.algorithm,
            c.dims,
            file_size(c.summary.bytes),
            c.summary.hash.computed[:_HASH],
            c.base,
        )
        for c in run.checkpoints
    ]
    headings = ("name", "step", "algorithm", "dim/alpha", "size", "hash", "base model")
    text = table(headings, rows) if rows else paragraph("No adapters are here.")
    if run.refused:
        text += paragraph("Not used:", "bad")
        text += table(("file", "why"), [(short(name, 80), why) for name, why in run.refused])
    return text


def verdict_table(verdicts: Sequence[tuple[Checkpoint, bool, str]]) -> str:
    """What the host would make of each file."""
    rows = [(short(c.name, 80), "fits" if works else "!", text) for c, works, text in verdicts]
    return table(("name", "", "on this host"), rows)


def metadata_table(checkpoint: Checkpoint) -> str:
    """Trigger words, tags, and the metadata with those first that are asked first."""
    known = {k: v for k, v in checkpoint.metadata.items() if v not in ("", "None")}
    keys = [key for key in HEADINGS if key in known]
    keys += [key for key in sorted(known) if key not in HEADINGS and key not in _ELSEWHERE]
    triggers = ", ".join(checkpoint.summary.triggers) or "not told by this file"
    text = table(("trigger words",), [(short(triggers, 400),)])
    tags = checkpoint.tags()
    if tags:
        counted = ", ".join(f"{short(tag, 60)} ({count})" for tag, count in tags)
        text += table(("tags of its pictures",), [(counted,)])
    if checkpoint.summary.misread_by:
        text += table(("elsewhere",), [(line,) for line in checkpoint.summary.misread_by])
    return text + table(
        ("metadata", ""), [(short(key, 60), short(known[key], 240)) for key in keys]
    )

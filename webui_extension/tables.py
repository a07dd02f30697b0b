"""Turn results into HTML for the tab; all text is escaped, because files may be hostile."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from lycoris_ext.formats.metadata import HEADINGS
from lycoris_ext.grids.checkpoints import Checkpoint, RunFiles
from lycoris_ext.grids.headings import harmless
from lycoris_ext.words import file_size, short

_HASH = 12
#: Metadata that the table leaves out: they are shown in a form of their own, or not at all.
_NOT_LISTED = ("ss_tag_frequency", "ss_bucket_info", "ssmd_cover_images", "modelspec.thumbnail")


def escape(text: str) -> str:
    """Return a text as HTML that shows it and does nothing else."""
    return html.escape(harmless(text))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table of plain texts, each escaped."""
    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    # The table scrolls inside its own box, also on a phone.
    return (
        f'<div class="lycoris-ext"><table class="lycoris-ext"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Return a text as an HTML paragraph that keeps line breaks.

    Args:
        text: plain text, which is escaped.
        kind: "good" (green), "bad" (red), or "".
    """
    return f'<p class="lycoris-ext {escape(kind)}">{escape(text)}</p>'


def run_table(run: RunFiles) -> str:
    """Return an HTML table of a run's checkpoints, and one of the files that were refused."""
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
    text = table(headings, rows) if rows else paragraph("This folder holds no adapters.")
    for known in run.checkpoints:
        for said in known.summary.doubts:
            text += paragraph(f"{short(known.name, 80)}: {said}", "bad")
    if run.refused:
        text += paragraph("These files are not used:", "bad")
        text += table(("file", "why"), [(short(name, 80), why) for name, why in run.refused])
    return text


def verdict_table(verdicts: Sequence[tuple[Checkpoint, bool, str]]) -> str:
    """Return an HTML table of whether each checkpoint fits this host, and why not.

    Args:
        verdicts: (checkpoint, whether it fits, explanation).
    """
    rows = [(short(c.name, 80), "fits" if works else "!", text) for c, works, text in verdicts]
    return table(("name", "", "on this host"), rows)


def metadata_table(checkpoint: Checkpoint) -> str:
    """Return HTML tables of a checkpoint's trigger words, tags and metadata, best known first."""
    known = {k: v for k, v in checkpoint.metadata.items() if v not in ("", "None")}
    keys = [key for key in HEADINGS if key in known]
    keys += [key for key in sorted(known) if key not in HEADINGS and key not in _NOT_LISTED]
    triggers = ", ".join(checkpoint.summary.triggers) or "this file names none"
    text = table(("trigger words",), [(short(triggers, 400),)])
    tags = checkpoint.tags()
    if tags:
        counted = ", ".join(f"{short(tag, 60)} ({count})" for tag, count in tags)
        text += table(("tags of its training pictures",), [(counted,)])
    if checkpoint.summary.misread_by:
        text += table(("in other programs",), [(line,) for line in checkpoint.summary.misread_by])
    return text + table(
        ("metadata", ""), [(short(key, 60), short(known[key], 240)) for key in keys]
    )

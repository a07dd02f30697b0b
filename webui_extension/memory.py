"""Remember the form in the browser, so that its fields come back when the page is loaded again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lycoris_ext.errors import LycorisExtError
from lycoris_ext.formats.json_text import parse_json
from webui_extension.form import folder_choices
from webui_extension.laboratory import Laboratory
from webui_extension.parts import hidden, script

#: The name of the browser's own store, and of the note that what it held was read.
_KEY = "lycoris-ext-form"
_READ = "lycorisExtRead"
#: Fields may change before the page has read what was kept: they must not overwrite it.
_KEEP = f"""(...values) => {{
  if (window.{_READ}) localStorage.setItem("{_KEY}", JSON.stringify(values));
  return [];
}}"""
_RESTORE = f"""() => {{
  const kept = localStorage.getItem("{_KEY}") || "";
  window.{_READ} = true;
  return [kept];
}}"""


def remember(blocks: Any, laboratory: Laboratory, fields: Mapping[str, Any]) -> None:
    """Keep the values of fields in the browser, and put them back when the page is loaded.

    Args:
        blocks: the open gradio Blocks.
        laboratory: lists the checkpoints of the run that was chosen.
        fields: name -> component.
    """
    kept = hidden("kept_form")
    components = list(fields.values())
    for component in components:
        component.change(None, inputs=components, outputs=[], **script(_KEEP))

    def restore(text: str) -> list[Any]:
        return updates(laboratory, fields, text)

    blocks.load(restore, inputs=[kept], outputs=components, queue=False, **script(_RESTORE))


def updates(laboratory: Laboratory, fields: Mapping[str, Any], text: str) -> list[Any]:
    """Return an update for each field: what was kept, as far as it can be chosen today.

    Args:
        laboratory: lists the checkpoints of the run that was chosen.
        fields: name -> component.
        text: JSON of the values, as the browser kept them; it may be of another version.
    """
    import gradio as gr

    try:
        values = parse_json(text or "[]")
    except ValueError:
        values = []
    if not isinstance(values, list) or len(values) != len(fields):
        return [gr.update() for _ in fields]
    named = dict(zip(fields, values, strict=True))
    return [_update(laboratory, fields[name], name, named) for name in fields]


def _update(laboratory: Laboratory, component: Any, name: str, named: Mapping[str, Any]) -> Any:
    import gradio as gr

    value = named[name]
    choices = getattr(component, "choices", None)
    if choices is None:
        return gr.update(value=value) if isinstance(value, (str, int, float)) else gr.update()
    if not isinstance(value, list):
        return gr.update()
    if name == "chosen":
        try:
            labels = folder_choices(laboratory, str(named["folder"]))
        except LycorisExtError:
            return gr.update()  # the run's folder is gone
        return gr.update(choices=labels, value=[each for each in value if each in labels])
    known = [_title(choice) for choice in choices]
    return gr.update(value=[each for each in value if each in known])


def _title(choice: Any) -> Any:
    """Return a choice's value: gradio 4 keeps pairs of a title and a value."""
    return choice[1] if isinstance(choice, Sequence) and not isinstance(choice, str) else choice

"""Page 4, "Use": copy the winning adapter into the host's LoRA folder."""

from __future__ import annotations

from typing import Any

from lycoris_ext.errors import ConfigError
from webui_extension.laboratory import Laboratory
from webui_extension.parts import number, part, shown
from webui_extension.preview import Preview
from webui_extension.tab_pick import Picked, chosen_of
from webui_extension.tables import paragraph


def build_use(laboratory: Laboratory, picked: Picked) -> None:
    """Add the page's components to the open gradio tab; `picked` holds those of page 1."""
    import gradio as gr

    with gr.Row():
        winner = part("Dropdown", "winner", label="Adapter to install", choices=[], scale=4)
        refresh = part(
            "Button", "refresh_winner", value="List the checkpoints ticked on page 1", scale=1
        )
    with gr.Row():
        name = part("Textbox", "name", label="Name of the new file", lines=1)
        strength = part("Number", "strength", label="Preferred strength", value=1)
    description = part("Textbox", "description", label="Description", lines=2)
    preview = part(
        "Checkbox", "preview", label="Use the picture that you voted for as preview", value=True
    )
    with gr.Row():
        install = part("Button", "install", value="Install", variant="primary")
        preview_only = part(
            "Button", "set_preview", value="Only set the preview of an installed adapter"
        )
    outcome = part("HTML", "installed", value="")

    @shown(1)
    def put(
        folder: str,
        label: str | None,
        name: str,
        strength: float | None,
        description: str,
        with_preview: bool,
    ) -> str:
        known = chosen_of(laboratory, folder, [label] if label else [])
        if not known:
            raise ConfigError("no adapter is chosen", where="Use", fix="choose a checkpoint")
        preferred = number("Preferred strength", strength)
        preview = laboratory.preview(known[0], preferred) if with_preview else Preview(None, "")
        written = laboratory.install(
            str(known[0].path),
            name or known[0].name,
            preview=str(preview.path or ""),
            description=description,
            strength=preferred,
        )
        said = paragraph("Installed: " + ", ".join(path.name for path in written), "good")
        return said + (paragraph(preview.why, "" if preview.path else "bad") if preview.why else "")

    @shown(1)
    def set_preview(folder: str, label: str | None, strength: float | None) -> str:
        known = chosen_of(laboratory, folder, [label] if label else [])
        if not known:
            raise ConfigError("no adapter is chosen", where="Use", fix="choose a checkpoint")
        preferred = number("Preferred strength", strength)
        path, why = laboratory.set_preview(known[0], preferred)
        return paragraph(f"{path.name}: {why}", "good")

    def take(labels: list[str]) -> Any:
        return gr.update(choices=labels or [], value=labels[-1] if labels else None)

    refresh.click(take, inputs=[picked.chosen], outputs=[winner], queue=False)
    inputs = [picked.folder, winner, name, strength, description, preview]
    install.click(put, inputs=inputs, outputs=[outcome])
    preview_only.click(set_preview, inputs=[picked.folder, winner, strength], outputs=[outcome])

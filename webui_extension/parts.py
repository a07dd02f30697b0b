"""Helpers that the tab's pages share: gradio components, and handlers that show errors as text."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.grids.checkpoints import Checkpoint
from webui_extension.tables import paragraph


def part(kind: str, name: str, **options: Any) -> Any:
    """Make a gradio component with the element id lycoris_ext_NAME.

    The host does not save its value as a default in ui-config.json.

    Args:
        kind: name of the gradio class, such as "Textbox".
        name: the NAME.
        options: keyword arguments of that class.
    """
    import gradio as gr

    component = getattr(gr, kind)(elem_id=f"lycoris_ext_{name}", **options)
    component.do_not_save_to_config = True
    return component


def shown(outputs: int) -> Callable[[Callable[..., Any]], Callable[..., list[Any]]]:
    """Decorate an action so that its project errors appear as text instead of being raised.

    Args:
        outputs: number of components that the action fills. On an error the last one shows the
            message and the others keep their values.
    """

    def wrap(action: Callable[..., Any]) -> Callable[..., list[Any]]:
        @wraps(action)
        def handler(*values: Any) -> list[Any]:
            import gradio as gr

            try:
                result = action(*values)
            except LycorisExtError as error:
                return [gr.update() for _ in range(outputs - 1)] + [paragraph(str(error), "bad")]
            return list(result) if isinstance(result, (list, tuple)) else [result]

        return handler

    return wrap


def number(field: str, value: float | None) -> float:
    """Return the value of a number field.

    Raises:
        ConfigError: the field is empty.
    """
    if value is None:
        raise ConfigError("the field is empty", where=field, fix="write a number")
    return value


def label(checkpoint: Checkpoint) -> str:
    """Return the text for a checkpoint in a list of choices; its hash makes the text unique."""
    step = "" if checkpoint.step is None else f", step {checkpoint.step}"
    return (
        f"{checkpoint.name}{step}, {checkpoint.algorithm} [{checkpoint.summary.hash.computed[:8]}]"
    )

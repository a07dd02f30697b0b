"""What the tab's pages share: parts that the host leaves alone, and errors shown as text."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.grids.checkpoints import Checkpoint
from webui_extension.tables import paragraph


def part(kind: str, name: str, **options: Any) -> Any:
    """A gradio component `lycoris_ext_NAME`, whose value the host does not keep for next time."""
    import gradio as gr

    component = getattr(gr, kind)(elem_id=f"lycoris_ext_{name}", **options)
    component.do_not_save_to_config = True
    return component


def shown(outputs: int) -> Callable[[Callable[..., Any]], Callable[..., list[Any]]]:
    """Make a handler out of an action that ends in text.

    Args:
        outputs: how many components it fills; the last one takes errors as text, the others stay
            as they were.
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
    """What a number's field holds.

    Raises:
        ConfigError: it was emptied.
    """
    if value is None:
        raise ConfigError("the field is empty", where=field, fix="write a number")
    return value


def label(checkpoint: Checkpoint) -> str:
    """A checkpoint in a list of choices; the hash makes it one of a kind."""
    step = "" if checkpoint.step is None else f", step {checkpoint.step}"
    return (
        f"{checkpoint.name}{step}, {checkpoint.algorithm} [{checkpoint.summary.hash.computed[:8]}]"
    )

"""Helpers that the tab's pages share: gradio components, and handlers that show errors as text."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.grids.headings import harmless
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


def hidden(name: str) -> Any:
    """Make a text box that the page's scripts and handlers use, and that nobody sees."""
    return part("Textbox", name, elem_classes="lycoris-ext-hidden", label=name)


def script(code: str) -> dict[str, str]:
    """Return the argument of a gradio event that runs a JavaScript function before its handler.

    Args:
        code: the function; it takes the values of the event's inputs, and returns them or others.
    """
    import gradio as gr

    return {"_js" if gr.__version__.startswith("3.") else "js": code}


class Poll:
    """Shows again and again how far a work is, until it ends.

    Each look puts another text into a hidden text box, and its change makes the browser ask for the
    next look. Unlike a generator this works without gradio's queue (--no-gradio-queue). There are
    two boxes in turn, because gradio 3 drops a change while the event before it is being answered.

    Args:
        name: of the text boxes.
        look: is called with a number of seconds and the values of `inputs`. It waits so long, but
            not after the work has ended; it returns the values of `outputs`, and whether the work
            goes on.
        outputs: the components that `look` fills.
        inputs: the components that it reads.
        seconds: between two looks.

    Attributes:
        outputs: what the handler of an event that begins the looks fills with `first`.
    """

    def __init__(
        self,
        name: str,
        look: Callable[..., tuple[Sequence[Any], bool]],
        *,
        outputs: Sequence[Any],
        inputs: Sequence[Any] = (),
        seconds: float,
    ) -> None:
        self._look = look
        self.inputs = list(inputs)
        tick, tock = hidden(f"{name}_tick"), hidden(f"{name}_tock")
        self.outputs = [*outputs, tick]
        for box, other in ((tick, tock), (tock, tick)):
            box.change(
                lambda *values: self._next(seconds, *values),
                inputs=self.inputs,
                outputs=[*outputs, other],
                queue=False,
                show_progress="hidden",
            )

    def first(self, *values: Any) -> list[Any]:
        """Look without waiting; if the work goes on, the browser then asks again by itself."""
        return self._next(0, *values)

    def resume(self, *values: Any) -> list[Any]:
        """Look if the work goes on, when the page is loaded again; else show nothing."""
        import gradio as gr

        shown = self._next(0, *values)
        return shown if isinstance(shown[-1], str) else [gr.update() for _ in shown]

    def _next(self, seconds: float, *values: Any) -> list[Any]:
        import gradio as gr

        shown, goes_on = self._look(seconds, *values)
        return [*shown, str(time.monotonic_ns()) if goes_on else gr.update()]


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
    digest = checkpoint.summary.hash.computed[:8]
    return harmless(f"{checkpoint.name}{step}, {checkpoint.algorithm} [{digest}]")

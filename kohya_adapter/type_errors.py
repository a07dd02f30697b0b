"""Keeping sd-scripts from hiding a fault: it takes a TypeError for an older kind of network."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def no_type_error(method: Method) -> Method:
    """Wrap a method so that a TypeError inside it becomes a RuntimeError.

    The trainer takes a TypeError for a method without the parameter ``learning_rate`` and calls it
    again without, which would hide a real fault.
    """

    @wraps(method)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except TypeError as error:
            raise RuntimeError(f"lycoris_ext failed: {error}") from error

    return called  # type: ignore[return-value]

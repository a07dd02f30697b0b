"""Classes that a config names by their dotted path, such as torch.optim.Rprop."""

from __future__ import annotations

import importlib
import logging
from difflib import get_close_matches
from typing import Any, TypeVar

from lycoris_ext.errors import ConfigError, EnvironmentFault

Base = TypeVar("Base")

_NOISY = ("bitsandbytes",)
"""Packages whose import logs errors about kernels that training does not use."""


def imported_class(path: str, base: type[Base], option: str) -> type[Base]:
    """Import the class that a dotted path names.

    Args:
        path: module and class.
        base: what the class must be a subclass of.
        option: that holds the path, for messages.

    Raises:
        ConfigError: the module has no such class, or it is none of these.
        EnvironmentFault: the module cannot be imported.
    """
    found = imported(path, option)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(
            f"{option} {path!r} is no subclass of {base.__module__}.{base.__name__}",
            where=option,
            fix=f"name one, such as {_EXAMPLES.get(option, base.__name__)}",
        )
    return found


_EXAMPLES = {
    "optimizer_type": "torch.optim.RAdam",
    "lr_scheduler_type": "torch.optim.lr_scheduler.CosineAnnealingLR",
}


def imported(path: str, option: str) -> Any:
    """Return what a dotted path names; errors as for ``imported_class``."""
    module_name, _, name = path.rpartition(".")
    package = module_name.partition(".")[0]
    try:
        module = _quietly(module_name)
    except (ImportError, ValueError) as error:  # a ValueError for ".Class"
        raise EnvironmentFault(
            f"{module_name or path} cannot be imported ({error})",
            where=f'{option} = "{path}"',
            fix=f"pip install {package.replace('_', '-') or 'it'}, or correct the path",
        ) from error
    if not hasattr(module, name):
        near = get_close_matches(name, dir(module), n=1)
        raise ConfigError(
            f"{option} {path!r}: {module_name} has no {name}",
            where=option,
            fix=f"did you mean {module_name}.{near[0]}?" if near else f"correct {option}",
        )
    return getattr(module, name)


def _quietly(module_name: str) -> Any:
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        importlib.import_module(module_name.partition(".")[0])
        return importlib.import_module(module_name)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

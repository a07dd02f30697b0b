"""The algorithms that are known by their names; ``register`` adds one, also from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from lycoris_ext.algorithms.base import Algorithm
from lycoris_ext.errors import ConfigError
from lycoris_ext.options import Option, options_of

_REGISTRY: dict[str, type[Algorithm]] = {}
AlgorithmClass = TypeVar("AlgorithmClass", bound=type[Algorithm])


def register(cls: AlgorithmClass) -> AlgorithmClass:
    """Make an algorithm known by its name; a class decorator.

    Raises:
        TypeError: another algorithm has this name, or declares an option of the same name in
            another way.
    """
    if cls.name in _REGISTRY:
        raise TypeError(f"there is an algorithm {cls.name} already: unregister it first")
    _options_of({**_REGISTRY, cls.name: cls})
    _REGISTRY[cls.name] = cls
    return cls


def unregister(name: str) -> None:
    """Undo ``register``; networks that were built with the algorithm go on working."""
    del _REGISTRY[name]


def algorithm_names() -> list[str]:
    """Return the names of all registered algorithms, sorted."""
    return sorted(_REGISTRY)


def algorithm_options() -> list[Option]:
    """Return the options of all algorithms, each once, in the order of registration."""
    return _options_of(_REGISTRY)


def _options_of(algorithms: Mapping[str, type[Algorithm]]) -> list[Option]:
    return options_of({name: cls.Options.options().values() for name, cls in algorithms.items()})


def algorithm(name: str) -> type[Algorithm]:
    """Return the algorithm of a name.

    Raises:
        ConfigError: there is no such algorithm; the message has the known names.
    """
    if name not in _REGISTRY:
        raise ConfigError(
            f"unknown algorithm {name!r}", where="algo", fix=f"use one of {algorithm_names()}"
        )
    return _REGISTRY[name]

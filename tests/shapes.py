"""Shapes at run time: what ``Annotated[Tensor, "out rank"]`` says is checked in the tests' calls.

The package only writes such annotations down, which costs nothing and needs nothing. Here each
becomes an annotation of jaxtyping, and its function one that jaxtyping and beartype check: an axis
of one name has one size in a call. Two words mean more: where a function is given a ``layer`` (or
belongs to an update of one), "out" and "in" are that layer's output and input channels.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from functools import reduce, wraps
from importlib import import_module
from operator import or_
from types import ModuleType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import torch
from beartype import BeartypeConf, beartype
from jaxtyping import Shaped, jaxtyped

_typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, too
_SIZES = {"out": "out_features", "in": "in_features"}


def check_shapes(*packages: str) -> int:
    """Have every function and dataclass of these packages check the shapes that it declares.

    Returns:
        How many do.
    """
    checked = 0
    for module in [module for name in packages for module in _modules(name)]:
        for value in list(vars(module).values()):
            if getattr(value, "__module__", None) != module.__name__:
                continue  # imported from elsewhere
            if inspect.isclass(value):
                checked += check_class(value)
            elif inspect.isfunction(value) and (better := _checked(value, _hints(value))):
                _replace(value, better)
                checked += 1
    return checked


def _modules(package: str) -> Iterator[ModuleType]:
    parent = import_module(package)
    yield parent
    for found in pkgutil.iter_modules(parent.__path__, f"{package}."):
        yield import_module(found.name)


def check_class(cls: type) -> int:
    """Make a dataclass check its fields when it is made, and its methods their shapes, or those of
    the method that they override; return how many functions check."""
    checked, fields = 0, get_type_hints(cls, include_extras=True) if is_dataclass(cls) else {}
    for name, method in list(vars(cls).items()):
        if not inspect.isfunction(method):
            continue
        if name == "__init__" and fields:
            hints = [fields]
        else:
            declared = [vars(base).get(name) for base in cls.__mro__]
            hints = [_hints(one) for one in declared if inspect.isfunction(one)]
        better = (_checked(method, one, of_layer="layer" in fields) for one in hints)
        if first := next(filter(None, better), None):
            setattr(cls, name, first)
            checked += 1
    return checked


def _replace(old: object, new: object) -> None:
    """Replace a function in every module of the package that has imported it."""
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("lycoris_ext"):
            for name in [name for name, value in vars(module).items() if value is old]:
                setattr(module, name, new)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(inspect.unwrap(function), include_extras=True)


def _checked(
    function: Callable[..., Any], hints: dict[str, Any], of_layer: bool = False
) -> Callable[..., Any] | None:
    """Return the function with its shapes checked, or None if the hints declare none."""
    names = inspect.signature(function).parameters
    layer = "layer" if "layer" in names else "self.layer" if of_layer else ""
    shapes = {
        name: better
        for name, hint in hints.items()
        if (name in names or name == "return") and (better := _translated(hint, layer)) is not hint
    }
    if not shapes:
        return None

    @wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    plain.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [known.replace(annotation=shapes.get(name, Any)) for name, known in names.items()],
        return_annotation=shapes.get("return", Any),
    )
    checking = jaxtyped(typechecker=_typechecker)(plain)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():  # which could not trace the checks
            return function(*args, **kwargs)
        return checking(*args, **kwargs)

    return call


def _translated(hint: Any, layer: str) -> Any:
    """Return the type with jaxtyping's annotations in place of ours, or itself if it has none."""
    inner = get_args(hint)
    if get_origin(hint) is Annotated:
        words = [
            f"{{{layer}.{_SIZES[word]}}}" if layer and word in _SIZES else word
            for word in inner[1].split()
        ]
        return Shaped[inner[0], " ".join(words)]
    better = tuple(_translated(one, layer) for one in inner)
    if all(new is old for new, old in zip(better, inner, strict=True)):
        return hint
    if get_origin(hint) in (Union, UnionType):
        return reduce(or_, better)
    return get_origin(hint)[better]

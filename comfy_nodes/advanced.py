"""Nodes for the settings that most people leave alone; they plug into the node of their subject.

No node has more than `MOST` widgets. What is beyond that stands on such nodes, each of one subject,
which can be chained. They hand on what their widgets say, and the plain node at the end of the
chain reads and checks everything together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from lycoris_ext.errors import ConfigError
from lycoris_ext.options import Option, holds_tables

from .host.widgets import Widget, inputs, link

#: The most widgets of a node.
MOST = 8
#: Values of widgets by name, as advanced nodes hand them on.
Values = Mapping[str, Any]


class Advanced(ABC):
    """The base of the advanced nodes.

    Attributes:
        TYPE: of the link to the plain node, so that ComfyUI refuses to plug it in elsewhere.
        PLAIN: name of the plain node, for texts.
    """

    TYPE: ClassVar[str]
    PLAIN: ClassVar[str]
    CATEGORY = "LyCORIS/training/advanced"
    FUNCTION = "collect"
    RETURN_TYPES: ClassVar[tuple[str, ...]]
    RETURN_NAMES = ("advanced",)
    OUTPUT_TOOLTIPS: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.RETURN_TYPES = (cls.TYPE,)
        cls.OUTPUT_TOOLTIPS = (
            f"For the input advanced of the {cls.PLAIN} node, or of another such node.",
        )

    @classmethod
    @abstractmethod
    def widgets(cls) -> Sequence[Widget]:
        """Return the widgets of the node."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs(cls.widgets(), (more(cls.TYPE, cls.PLAIN),))

    def collect(self, advanced: Values | None = None, **values: Any) -> tuple[Values]:
        return (joined(advanced, values),)


def more(kind: str, plain: str) -> Widget:
    """Make the optional input for advanced nodes.

    Args:
        kind: type of the link.
        plain: name of the plain node.
    """
    return link("advanced", kind, f"More settings, from {plain} Advanced nodes; they form a chain.")


def joined(advanced: Values | None, own: Values) -> dict[str, Any]:
    """Put the values of a chain of advanced nodes and those of one more node together.

    Raises:
        ConfigError: two nodes set the same widget.
    """
    twice = sorted(set(advanced or {}) & set(own))
    if twice:
        raise ConfigError(
            f"two nodes set {', '.join(twice)}",
            where="advanced",
            fix="remove one of the two nodes of the same kind",
        )
    return {**(advanced or {}), **own}


def grouped(
    groups: Mapping[str, Sequence[str]],
    known: Mapping[str, Option],
    elsewhere: Sequence[str],
    rest: Callable[[Option], str],
) -> dict[str, list[str]]:
    """Return the options of each group, with those that no group names.

    Args:
        groups: group -> its options, in the order of the widgets.
        known: the options to place; those that groups name and nobody declares are left out.
        elsewhere: options that are no widget of these groups.
        rest: the group of an option that no group names, such as a new one; it goes to the end.
    """
    placed = {name: [each for each in names if each in known] for name, names in groups.items()}
    taken = {each for names in groups.values() for each in names} | set(elsewhere)
    for name, option in known.items():
        if name not in taken and not holds_tables(option.hint):
            placed[rest(option)].append(name)
    return placed

"""Parse YAML and refuse what unfolds: a few bytes of a document can stand for millions of values.

In YAML a name (``*a``) may stand for a list of names, each of which stands for such a list again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lycoris_ext.errors import ConfigError, EnvironmentFault

DEEPEST = 50
"""How deep tables and lists of a config may stand in each other."""
MOST_VALUES = 20_000
"""Values of one config, in all of its tables and lists."""
_MOST_DIGITS = 400
#: What PyYAML raises for a text that is not YAML, or of which a value is none of its declared type.
_BROKEN = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)


def parse_yaml(text: str, where: str) -> Any:
    """Parse a YAML text.

    YAML itself reads the name ``on`` as true and ``1`` as a number; here all names are texts.

    Args:
        text: one document.
        where: the file's name, for messages.

    Raises:
        ConfigError: it is not valid YAML, or unfolds to more than ``MOST_VALUES``.
        EnvironmentFault: PyYAML is not installed.
    """
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise EnvironmentFault(
            "reading YAML needs the package PyYAML", where=where, fix="pip install pyyaml"
        ) from error

    def below(node: Any) -> Iterable[Any]:
        if isinstance(node, yaml.MappingNode):
            return (part for pair in node.value for part in pair)
        return node.value if isinstance(node, yaml.SequenceNode) else ()

    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        # Before values are made of it: "<<: [*a, *a]" copies whole tables.
        for node in refuse_unwieldy(root, where, below):
            if node.tag.endswith((":int", ":float")) and len(node.value) > _MOST_DIGITS:
                raise ValueError(f"a number has more than {_MOST_DIGITS} digits")
        return _with_texts(loader.construct_document(root))
    except (yaml.YAMLError, *_BROKEN) as error:
        told = " ".join(str(error).split()) or "it is nested too deeply"
        raise ConfigError(
            f"no valid YAML: {told:.500}", where=where, fix="correct this line"
        ) from error
    finally:
        loader.dispose()


def _with_texts(value: Any) -> Any:
    """Return a value whose tables, and those in it, have texts as names, as in JSON and TOML."""
    if isinstance(value, Mapping):
        return {str(name): _with_texts(part) for name, part in value.items()}
    return [_with_texts(part) for part in value] if isinstance(value, (list, tuple)) else value


def parts_of(value: object) -> Iterable[object]:
    """Return the values in a table or list; nothing for any other value."""
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


def refuse_unwieldy(
    root: Any, where: str, below: Callable[[Any], Iterable[Any]] = parts_of
) -> list[Any]:
    """Refuse a document that is nested too deeply or holds too many values.

    What several names stand for counts each time.

    Args:
        root: the document.
        where: its name, for messages.
        below: returns what is in a value.

    Returns:
        All values of the document.

    Raises:
        ConfigError: it goes deeper than ``DEEPEST``, or holds more than ``MOST_VALUES``.
    """
    found, level = [root], [root]
    for _ in range(DEEPEST):
        inside: list[Any] = []
        for value in level:
            inside += below(value)
            if len(found) + len(inside) > MOST_VALUES:
                raise ConfigError(
                    f"it holds more than {MOST_VALUES:,} values, which no config needs",
                    where=where,
                    fix="check that it is the right file, and write out what its names stand for",
                )
        if not inside:
            return found
        found += inside
        level = inside
    raise ConfigError(
        f"its tables and lists are nested more than {DEEPEST} deep, which no config needs",
        where=where,
        fix="check that it is the right file",
    )

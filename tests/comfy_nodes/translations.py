"""The English texts of the nodes, and their translations.

`tests/comfy_nodes/languages/LANG.json` holds English text -> translation; `locales/LANG` is written
from it by `python -m tests.comfy_nodes.documents`.

    python -m tests.comfy_nodes.translations       print all English texts, as JSON
    python -m tests.comfy_nodes.translations de    print those that de.json lacks, or has too many
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.comfy_nodes.stand_ins import inside_comfyui

ROOT = Path(__file__).resolve().parents[2]
TABLES = Path(__file__).with_name("languages")
#: What an option's help ends with if not every algorithm or optimizer reads the option.
READERS, ONLY = " Only for ", "Only for {}."
#: What vue-i18n, which ComfyUI's page reads texts with, would take for its own syntax.
_SYNTAX = re.compile(r"[{}@|]")
#: The languages of ComfyUI's page for which there is a table.
LANGUAGES = tuple(sorted(path.stem for path in TABLES.glob("*.json")))


def table(language: str) -> dict[str, str]:
    """Return English text -> translation, as the table of a language has it."""
    found = json.loads((TABLES / f"{language}.json").read_text("utf-8"))
    return {str(text): str(translation) for text, translation in found.items()}


def inputs_of(node: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return the inputs of a node that a user sees: name -> (type, settings)."""
    given = node.INPUT_TYPES()
    return {**given["required"], **given["optional"]}


def is_current(node: Any) -> bool:
    """Return True if ComfyUI offers a node in its search."""
    return not getattr(node, "DEPRECATED", False)


def locale(
    nodes: Mapping[str, Any], names: Mapping[str, str], told: Mapping[str, str] = {}
) -> dict[str, Any]:
    """Return what ComfyUI reads as nodeDefs.json.

    Args:
        nodes: id -> class, for all nodes of today.
        names: id -> display name.
        told: English text -> translation; what it lacks stays English.
    """

    def say(text: str) -> str:
        return _SYNTAX.sub(r"{'\g<0>'}", told.get(text, text))

    def tooltip(key: str, text: str) -> str:
        own = f" ({key})"  # the name in files and messages, the same in every language
        end = own if text.endswith(own) else ""
        said, _, readers = text.removesuffix(own).partition(READERS)
        only = f" {told.get(ONLY, ONLY).format(readers[:-1])}" if readers else ""
        return say(said) + only + end

    def shown(output: str) -> str:
        return output if output.isupper() else output.replace("_", " ")

    return {
        name: {
            "display_name": say(names[name]),
            "description": say(node.DESCRIPTION),
            "inputs": {
                key: {"name": say(s["display_name"]), "tooltip": tooltip(key, s["tooltip"])}
                for key, (_, s) in inputs_of(node).items()
            },
            "outputs": {
                str(number): {"name": say(shown(output)), "tooltip": say(text)}
                for number, (output, text) in enumerate(
                    zip(node.RETURN_NAMES, node.OUTPUT_TOOLTIPS, strict=True)
                )
            },
        }
        for name, node in nodes.items()
        if is_current(node)
    }


class _Noted(dict[str, str]):
    """A table of translations that notes what is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, None] = {}

    def get(self, text: str, default: Any = None) -> Any:
        self.texts[text] = None
        return default


def english() -> list[str]:
    """Return every English text of the nodes of today once, in the order of the nodes."""
    noted = _Noted()
    with tempfile.TemporaryDirectory() as folder, inside_comfyui(Path(folder)):
        from comfy_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

        locale(NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS, noted)
    return list(noted.texts)


def faults(language: str) -> list[str]:
    """Return what is wrong with a table: texts it lacks, texts that nothing says any more."""
    told, wanted = table(language), english()
    missing = [f"missing: {text}" for text in wanted if not told.get(text, "").strip()]
    return missing + [f"stale: {text}" for text in told if text not in set(wanted)]


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        print("\n".join(faults(chosen)) or f"{chosen}: complete")
    if not sys.argv[1:]:
        print(json.dumps(dict.fromkeys(english(), ""), indent=1, ensure_ascii=False))

"""No text says "1 pictures": numbers of things are written by ``words.count``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("lycoris_ext", "comfy_nodes", "kohya_adapter", "webui_extension")
THINGS = re.compile(
    r" (?:more |other |training |regularisation )?(pictures|captions|images|files|folders|steps|"
    r"layers|modules|keys|tensors|rows|columns|parameters|batches|samples|tags|threads|strengths|"
    r"adapters|checkpoints|prompts|seeds|subsets|epochs|tokens|packages)\b"
)
# "each of the 5 samples": in such a phrase the plural stands for one, too.
SHARE = re.compile(r"\b(of the|of its|all) $")
NEVER_ONE = {
    ("lycoris_ext/functional/gated.py", "samples"),  # one sample fits every input
    ("lycoris_ext/runs/optimizer_state.py", "parameters"),  # numbers of several groups
    ("lycoris_ext/cli/dataset/recorded.py", "adapters"),  # a single one is taken
    ("lycoris_ext/grids/fit.py", "layers"),  # "the only layer fits" is said of one
}


def uncounted(source: str) -> list[tuple[str, int]]:
    """Return (things, line) for each f-string that writes a number before a fixed plural."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [ast.Constant(""), *node.values]
            for before, value, after in zip(parts, parts[1:], parts[2:], strict=False):
                if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
                    match = THINGS.match(str(after.value))
                    share = isinstance(before, ast.Constant) and SHARE.search(str(before.value))
                    counted = ast.unparse(value.value).startswith("count(")
                    if match and not share and not counted:
                        found.append((match[1], node.lineno))
    return found


def test_the_search_finds_a_fixed_plural():
    assert uncounted('f"none of the {number} pictures"') == []
    assert uncounted('f"{a} of {b} pictures"') == [("pictures", 1)]
    assert uncounted('f"{len(paths)} pictures"') == [("pictures", 1)]
    assert uncounted('f"{a}: {b:,} training pictures"') == [("pictures", 1)]
    assert uncounted("f\"{count(2, 'picture')}, {name} is lost\"") == []


def test_a_number_of_things_is_never_followed_by_a_fixed_plural():
    wrong = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            for things, line in uncounted(path.read_text("utf-8")):
                if (name, things) not in NEVER_ONE:
                    wrong.append(f"{name}:{line}: ... {things}")
    assert wrong == []

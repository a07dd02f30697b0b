"""Every block of Python in docs/python.md and in docs/contributing/ runs, from top to bottom."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# One process a group: what a page adds stays in it, and starting torch takes longer than a page.
GROUPS = {
    "python": [DOCS / "python.md"],
    "contributing": sorted((DOCS / "contributing").glob("*.md")),
}


def program_of(page: Path) -> str:
    """Return the Python blocks of a page as one program, with the line numbers of the page."""
    text = page.read_text("utf-8")
    lines = [""] * len(text.splitlines())
    for block in BLOCK.finditer(text):
        first = text[: block.start(1)].count("\n")
        code = block[1].splitlines()
        lines[first : first + len(code)] = code
    return "\n".join(lines)


@pytest.mark.parametrize("group", GROUPS)
def test_the_python_blocks_of_a_page_run_from_top_to_bottom(group, tmp_path):
    starter = tmp_path / "all_pages.py"
    for page in GROUPS[group]:
        program = tmp_path / page.name  # so that a traceback shows the line
        program.write_text(program_of(page), encoding="utf-8")
        with starter.open("a", encoding="utf-8") as file:
            file.write(
                f"exec(compile(open({str(program)!r}, 'rb').read(), {page.name!r}, 'exec'))\n"
            )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(starter)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

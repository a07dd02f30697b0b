"""Links between the documents of the repository; mkdocs checks those inside docs/ (`make docs`)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links_of(page: Path) -> list[str]:
    """Return the links of a page that stay inside the repository."""
    found = LINK.findall(page.read_text("utf-8"))
    return [link.partition("#")[0] for link in found if "://" not in link and link[0] != "#"]


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_links_of_pages_at_the_root_lead_to_files(page):
    dead = [link for link in links_of(page) if not (page.parent / link).exists()]
    assert not dead


def test_every_page_can_be_reached_from_the_index():
    reached, waiting = set(), [DOCS / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        linked = {(page.parent / link).resolve() for link in links_of(page)}
        waiting += [found for found in linked if found.suffix == ".md" and found not in reached]
    missed = set(DOCS.rglob("*.md")) - reached
    assert not missed, "link these pages from docs/README.md or from their folder's README.md"

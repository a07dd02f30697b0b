"""Whatever texts a page's data hold, the page's script finds them as they are, and no tag does."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from lycoris_ext.pages.assemble import as_json, assemble
from tests.grids.test_page import Tags


@given(st.text(max_size=60))
@example("</script><script>alert(1)</script>")
@example("<!--<script>")
@example("&amp; & &#x3c; \r\n")
@example("@data@ @script@ @policy@")
def test_any_text_comes_through_as_it_is(text: str) -> None:
    content = {text: [text]}
    page = assemble("lycoris_ext.pages.dataset", "index", text, content, scripts=["words"])
    tags = Tags()
    tags.feed(page)
    assert [tag for tag, _ in tags.seen].count("script") == 2
    assert json.loads(tags.texts[0]) == content
    assert "<" not in as_json(content) and ">" not in as_json(content)

"""Names and metadata from files are shown as text."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.formats import load_adapter, save_adapter
from lycoris_ext.formats.adapter_file import AdapterState
from lycoris_ext.grids.checkpoints import list_run
from webui_extension.tables import metadata_table, paragraph, run_table, table, verdict_table

SCRIPT = "<img src=x onerror=alert(1)>"


def test_foreign_texts_are_escaped_in_every_table(tmp_path: Path, run: Path) -> None:
    state = load_adapter(run / "tilty-step-200.safetensors")
    metadata = {
        **state.metadata,
        "ss_sd_model_name": SCRIPT,
        f"x{SCRIPT}": SCRIPT,
        "modelspec.trigger_phrase": SCRIPT,
    }
    (run / "sub").mkdir()
    save_adapter(run / "sub" / f"{SCRIPT}.safetensors", AdapterState(state.tensors, metadata))
    (run / "sub" / f"{SCRIPT}.ckpt").touch()
    listed = list_run(run / "sub")
    (known,) = listed.checkpoints
    for html in (
        run_table(listed),
        metadata_table(known),
        verdict_table([(known, False, SCRIPT)]),
        paragraph(SCRIPT, SCRIPT),
    ):
        assert "<img" not in html and "&lt;img src=x" in html


def test_a_name_that_turns_its_text_around_is_shown_by_its_letters() -> None:
    assert "a&lt;U+202E&gt;b" in table(("name",), [("a\u202eb",)])
    assert "a&lt;U+2067&gt;b" in paragraph("a\u2067b")


def test_the_tables_of_a_run_show_algorithm_ranks_base_and_tags(run: Path) -> None:
    html = run_table(list_run(run))
    assert html.index("tilty-step-200") < html.index("tilty-step-1000")
    for text in ("loha, DoRA", "8/1", "base.safetensors, sd_v1"):
        assert text in html
    told = metadata_table(list_run(run).checkpoints[0])
    assert "Tilty (20), smile (8), &lt;b&gt; (3)" in told

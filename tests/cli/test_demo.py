"""The demo with two steps and few pictures; only `make demo` checks its real figures."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from lycoris_ext.cli import demo, demo_pictures
from lycoris_ext.cli.demo_pictures import DemoSettings, choose_prompts
from lycoris_ext.formats.summary import summarize
from lycoris_ext.mini import BASE_STYLES, LEARNED_STYLE
from lycoris_ext.mini.drawings.drawn import DrawnSource


def test_the_demo_asks_for_subjects_that_the_adapter_never_saw():
    prompts = choose_prompts(48)
    shown = set(DrawnSource.learned_subjects)
    assert len(prompts.learned) == len(prompts.base) == 48
    assert all(prompt.style == LEARNED_STYLE for prompt in prompts.learned)
    assert not shown & {prompt.subject for prompt in prompts.learned}
    for learned, base in zip(prompts.learned, prompts.base, strict=True):
        assert base.subject == learned.subject
        assert base.caption.split(", ")[1:] == learned.caption.split(", ")[1:]
        assert base.caption.startswith(f"by {base.style}, ")
    assert {prompt.style for prompt in prompts.base} == set(BASE_STYLES)


def test_the_demo_draws_each_prompt_with_its_number_as_the_seed(tmp_path):
    specs = choose_prompts(4).specs(DemoSettings(tmp_path))
    assert [spec.seed for spec in specs] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_the_demo_trains_with_the_recipe_seed_default(tmp_path):
    config = demo.demo_config(DemoSettings(tmp_path))
    network = config.network
    assert (network.algo, network.network_dim, network.conv_dim) == ("loha", 8, 4)
    assert (network.network_alpha, network.preset) == (1.0, "full")
    assert config.data.resolution == 64


def pretend(monkeypatch, good):
    """Replace the judges: they recognise the learned style in pictures with adapter only if `good`,
    and all else as it was asked for."""
    answers = iter(["flat", LEARNED_STYLE if good else "flat"])
    prompts = choose_prompts(4)

    def style(pictures):
        first = next(answers, None)
        if first is not None:
            return [first] * len(pictures)
        return [prompt.style for prompt in prompts.base]

    monkeypatch.setattr(demo_pictures, "style_judge", style)
    monkeypatch.setattr(
        demo_pictures, "subject_judge", lambda _: [prompt.subject for prompt in prompts.learned]
    )
    monkeypatch.setattr(demo, "judge_accuracy", lambda: {"style": {"sharp": 0.99}})


def test_the_demo_reports_a_learned_style_and_the_next_run_a_missed_one(
    tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "out"
    settings = DemoSettings(
        folder,
        "cpu",
        shown=4,
        judged=4,
        sampling_steps=1,
        overrides=(("max_train_steps", 2), ("train_batch_size", 2)),
    )
    pretend(monkeypatch, good=True)
    assert demo.run_demo(settings) == 0
    output = capsys.readouterr().out
    assert "100% (4/4)" in output
    assert "MISSED" not in output
    names = {path.name for path in folder.iterdir()}
    assert {"ink_style.safetensors", "comparison.png", "loss.png", "report.json"} <= names
    for name in ("comparison.png", "loss.png", "report.json", "ink_style.safetensors"):
        assert str(folder / name) in output
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["passed"] is True
    assert report["style_after"]["total"] == 4
    assert summarize(folder / "ink_style.safetensors").hash.agrees
    with Image.open(folder / "comparison.png") as grid:
        assert grid.width > 10 * 128

    (folder / "notes.txt").write_text("the user's own", encoding="utf-8")
    pretend(monkeypatch, good=False)
    assert demo.run_demo(settings) == demo.FIGURES_MISSED
    assert "MISSED: learned style with the adapter is 0%, must be >= 70%" in capsys.readouterr().out
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["passed"] is False
    assert (folder / "notes.txt").exists()


def test_a_demo_that_stops_leaves_no_old_report(tmp_path, monkeypatch):
    (tmp_path / "report.json").write_text('{"passed": true}', encoding="utf-8")

    def stop(_config):
        raise KeyboardInterrupt

    monkeypatch.setattr("lycoris_ext.training.terminal.train_in_terminal", stop)
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(DemoSettings(tmp_path))
    assert not (tmp_path / "report.json").exists()

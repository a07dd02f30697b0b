"""A run never writes over the files of another run."""

from __future__ import annotations

import pytest

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault
from lycoris_ext.runs.lock import RunLock
from lycoris_ext.runs.state import load_state
from lycoris_ext.training import run as run_module
from lycoris_ext.training.door import Door
from lycoris_ext.training.run import Run


def test_a_run_whose_name_is_locked_is_refused_before_anything_is_touched(run, tmp_path):
    with (
        RunLock(tmp_path / ".a.lock"),
        pytest.raises(EnvironmentFault, match="another process is training"),
    ):
        run(output_dir=str(tmp_path), output_name="a")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_run_that_began_meanwhile_is_not_overwritten(run, tmp_path, monkeypatch):
    read = Door.read_pictures

    def overtaken(*given):
        monkeypatch.setattr(Door, "read_pictures", read)
        run()
        return read(*given)

    monkeypatch.setattr(Door, "read_pictures", overtaken)
    with pytest.raises(DataError, match="exist already"):
        run(seed=5)
    assert "seed = 0" in (tmp_path / "out" / "test.toml").read_text("utf-8")


class Killed(BaseException):
    """The process ends here."""


def killed_at(monkeypatch, name):
    """Let the process end where it is about to write a file."""

    def end(*_, **__):
        raise Killed

    monkeypatch.setattr(run_module, name, end)


@pytest.mark.parametrize(
    ("saving", "left"),
    [({}, "test.safetensors"), ({"save_every_n_steps": 2}, "test-step-2.safetensors")],
    ids=["finished", "checkpoint"],
)
def test_an_adapter_whose_state_was_never_written_is_named_and_kept(
    run, tmp_path, monkeypatch, saving, left
):
    with monkeypatch.context() as patched, pytest.raises(Killed):
        killed_at(patched, "save_state")
        run(**saving)
    adapter = tmp_path / "out" / left
    before = adapter.read_bytes()
    assert not (tmp_path / "out" / "test.state").exists()
    with pytest.raises(DataError) as caught:
        run(**saving, seed=1)
    assert left in caught.value.what and "no state from which it could go on" in caught.value.what
    assert caught.value.fix == "choose another output_name, or start over with --overwrite"
    assert adapter.read_bytes() == before
    assert run(**saving, seed=1, output_name="other").exists()
    assert adapter.read_bytes() == before
    older = adapter.with_name("test-step-900.safetensors")
    older.write_bytes(before)
    run(**saving, seed=1, overwrite=True)
    assert adapter.read_bytes() != before and not older.exists()


def test_a_run_that_was_killed_after_its_first_checkpoint_goes_on(run, tmp_path, monkeypatch):
    whole = run(output_dir=str(tmp_path / "whole"), save_every_n_steps=2)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Run, "record", lambda run, *_: killed_after(run, 3))
        run(save_every_n_steps=2)
    assert run(save_every_n_steps=2).read_bytes() == whole.read_bytes()


def killed_after(run, step):
    if run.step == step:
        raise Killed


def test_adapters_of_other_runs_in_the_folder_are_no_obstacle(run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("test-2.safetensors", "test-step-x.safetensors", "my test.safetensors"):
        (out / name).write_bytes(b"another")
    assert run().exists()


CAPTIONS = [
    {"token_warmup_step": 0.8, "shuffle_caption": True, "gradient_accumulation_steps": 2},
    {"caption_variants": 2, "shuffle_caption": True, "caption_tag_dropout_rate": 0.3},
    {"max_token_length": 225, "weighted_captions": True},
    {"max_token_length": 150, "token_warmup_step": 3, "caption_dropout_rate": 0.4},
]


@pytest.mark.parametrize("captions", CAPTIONS, ids=" ".join)
def test_a_killed_run_with_captions_that_change_goes_on_bit_for_bit(
    run, tmp_path, pictures, monkeypatch, captions
):
    for number, path in enumerate(sorted(pictures.rglob("*.txt"))):
        path.write_text(f"a, (red:1.{number}), " + ", ".join("bcdefgh") * 12, encoding="utf-8")
    settings = {"save_state_every_n_steps": 1, "max_train_steps": 6, **captions}
    whole = run(output_dir=str(tmp_path / "whole"), **settings)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Run, "record", lambda run, *_: killed_after(run, 4))
        run(**settings)
    assert load_state(tmp_path / "out" / "test.state").progress.step == 3
    assert run(**settings).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("option", ["network_weights", "base_weights"])
def test_a_run_does_not_replace_the_adapter_that_it_starts_from(run, tmp_path, option):
    path = run(save_every_n_steps=2).with_name("test-step-2.safetensors")
    start = str(path) if option == "network_weights" else [str(path)]
    with pytest.raises(ConfigError, match="the run starts from this adapter"):
        run(**{option: start}, overwrite=True)
    assert path.exists() and run(**{option: start}, output_name="other").exists()

"""Installing the winner into the host's folder of networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault
from lycoris_ext.formats import atomic_write
from tests.webui_extension.conftest import FakeHost, ask
from webui_extension import winner
from webui_extension.allowed_folders import NotAllowed
from webui_extension.laboratory import Laboratory


def test_the_winner_is_installed_with_preview_and_card_and_overwrites_nothing(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    job = ask(laboratory, folder)
    checkpoint = laboratory.checkpoint(str(folder / "tilty-step-200.safetensors"))
    picture = laboratory.preview(checkpoint).path
    assert picture == job.grid.table()[0][1].path  # type: ignore[union-attr]
    written = laboratory.install(str(checkpoint.path), "Tilty", preview=str(picture), strength=0.8)
    assert [path.name for path in written] == ["Tilty.png", "Tilty.json", "Tilty.safetensors"]
    assert written[2].read_bytes() == checkpoint.path.read_bytes() and host.refreshed == 1
    card = json.loads(written[1].read_text("utf-8"))
    assert card["sd version"] == "SD1" and card["activation text"] == "Tilty"
    assert card["description"] == "loha, 8/1, 200 steps, trained on base.safetensors, sd_v1"
    with Image.open(written[0]) as preview:
        assert preview.size == (16, 16)
    for name, said in (
        ("Tilty", "a file of this name exists already"),
        ("../x", "cannot be a file's"),
    ):
        with pytest.raises(ConfigError, match=said):
            laboratory.install(str(checkpoint.path), name)
    with pytest.raises(NotAllowed):
        laboratory.install(str(checkpoint.path), "y", preview="/etc/passwd")
    with pytest.raises(DataError, match="this is no picture"):
        laboratory.install(str(checkpoint.path), "y", preview=str(checkpoint.path))
    assert not list(host.lora_folder().glob("y.*"))


def test_a_winner_that_was_overwritten_or_finds_no_room_leaves_no_file(
    laboratory: Laboratory, folder: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "tilty-step-200.safetensors"
    known = laboratory.checkpoint(str(path))
    picture = folder / "preview.png"
    Image.new("RGB", (8, 8)).save(picture)

    def full(place: Path, content: bytes) -> None:
        if place.suffix == ".safetensors":
            raise EnvironmentFault("cannot be written (No space left on device)")
        atomic_write(place, content)

    with monkeypatch.context() as patch:
        patch.setattr(winner, "atomic_write", full)
        with pytest.raises(EnvironmentFault, match="No space left"):
            laboratory.install(str(path), "Tilty", preview=str(picture))
    assert not list(host.lora_folder().glob("Tilty*"))
    assert len(laboratory.install(str(path), "Tilty", preview=str(picture))) == 3
    path.write_bytes((folder / "tilty-step-1000.safetensors").read_bytes())
    with pytest.raises(DataError, match="was overwritten after it was listed"):
        winner.install_winner(host.lora_folder(), known, "Other")
    assert not list(host.lora_folder().glob("Other*"))


def test_the_preview_is_the_cell_that_was_voted_for_also_after_a_restart(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    job = ask(laboratory, folder, strengths=["0.2", "1"], seeds=[1, 2])
    known = laboratory.checkpoint(str(folder / "tilty-step-200.safetensors"))
    table = job.grid.table()
    assert laboratory.preview(known).path == table[0][2].path  # type: ignore[union-attr]
    assert laboratory.preview(known, 0.3).path == table[0][1].path  # type: ignore[union-attr]
    laboratory.vote(job.plan.id, 0, 1)
    laboratory.vote(job.plan.id, 1, 2)
    for later in (laboratory, Laboratory(host)):
        chosen = later.preview(known)
        assert chosen.path == table[1][2].path  # type: ignore[union-attr]
        assert "that was voted for" in chosen.why
    ask(laboratory, folder, seeds=[7])
    assert laboratory.preview(known).path == chosen.path, "a newer grid without votes"


def test_faulty_pictures_give_no_preview_and_it_says_so(
    laboratory: Laboratory, folder: Path
) -> None:
    path = str(folder / "tilty-step-1000.safetensors")
    known = laboratory.checkpoint(path)
    assert laboratory.preview(known).why.startswith("There is no preview: no grid shows")
    ask(laboratory, folder, files=[path])
    chosen = laboratory.preview(known)
    assert chosen.path is None and "ignores DoRA's lengths" in chosen.why


def test_an_installed_adapter_gets_the_voted_picture_and_keeps_its_earlier_one(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    path = folder / "tilty-step-200.safetensors"
    ask(laboratory, folder)
    with pytest.raises(ConfigError, match="not in the host's LoRA folder"):
        laboratory.set_preview(laboratory.checkpoint(str(path)))
    installed = host.lora_folder() / "mine.safetensors"
    installed.write_bytes(path.read_bytes())
    earlier = installed.with_suffix(".png")
    Image.new("RGB", (8, 8)).save(earlier)
    before = earlier.read_bytes()
    written, why = laboratory.set_preview(laboratory.checkpoint(str(installed)))
    assert written == earlier and "none was voted for" in why
    assert (host.lora_folder() / "mine.earlier-1.png").read_bytes() == before
    with Image.open(written) as picture:
        assert picture.size == (16, 16)


def test_a_preview_that_cannot_be_written_leaves_the_earlier_one(
    laboratory: Laboratory, folder: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(laboratory, folder)
    installed = host.lora_folder() / "mine.safetensors"
    installed.write_bytes((folder / "tilty-step-200.safetensors").read_bytes())
    earlier = installed.with_suffix(".png")
    Image.new("RGB", (8, 8)).save(earlier)

    def full(*_: object) -> Path:
        raise EnvironmentFault("cannot be written (the disk is full)")

    monkeypatch.setattr(winner, "save_picture", full)
    with pytest.raises(EnvironmentFault, match="the disk is full"):
        laboratory.set_preview(laboratory.checkpoint(str(installed)))
    assert [path.name for path in host.lora_folder().glob("*.png")] == [earlier.name]

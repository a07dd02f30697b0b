"""No command for data sets, and no training, writes to a picture or a caption of the user."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from lycoris_ext.cli import main
from lycoris_ext.cli.arguments.dataset import parser
from tests.faults.dataset_world import TAGS_PICTURES, World
from tests.tiny_pipeline import write_tiny_folder


def _actions() -> set[str]:
    """Return the actions of ``lycoris-ext dataset``."""
    (actions,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return set(actions.choices)


@pytest.mark.parametrize("nested", [False, True], ids=["named folders", "nested folders"])
def test_every_data_set_command_and_a_training_leave_pictures_and_captions_as_they_are(
    tmp_path: Path, nested: bool
) -> None:
    world = World(tmp_path / "world", nested=nested)
    tried = set()
    for name, command in world.commands().items():
        for words in (*command.first, command.words, command.undo):
            if words:
                assert main(words) in (0, 3), name  # 3: all is taken back already
                assert world.lost() == "", words
                tried |= {words[1]} if words[0] == "dataset" else set()
    needed = _actions() - (set() if TAGS_PICTURES else {"caption"})
    assert tried == needed, "World.commands() lacks an action"
    place = str(world.pictures)
    main(["doctor", place])
    main(["init", place, "--base", "none", "--output", str(tmp_path / "init.toml")])
    base = write_tiny_folder(tmp_path / "base")
    options = {
        "pretrained_model_name_or_path": base,
        "train_data_dir": place,
        "output_dir": tmp_path / "out",
        "output_name": "x",
        "resolution": 32,
        "max_train_steps": 2,
        "network_dim": 2,
        "device": "cpu",
    }
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    assert main(["train", *flags, "--cache_latents_to_disk", "--flip_aug"]) == 0
    assert world.lost() == ""

"""Where the nodes read pictures and write adapters."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_nodes.host.places import input_folders, listed_name, output_place, picture_folder
from lycoris_ext.errors import ConfigError, DataError
from tests.comfy_nodes.stand_ins import Host


def test_file_names_stay_in_the_lora_folder_and_relative_folders_in_the_input_folder(
    host: Host, tmp_path: Path
) -> None:
    assert output_place("a.safetensors") == (host.loras, "a")
    assert output_place("people\\b") == (host.loras / "people", "b")
    assert listed_name(host.loras / "people" / "b.safetensors") == str(Path("people/b.safetensors"))
    refused = (
        "",
        "../a",
        "a/../../../b",
        "people/",
        "C:evil",
        "a:b",
        "C:/a",
        "a?/b",
        "a./b",
        "CON",
        "people/nul",
        "com1.old",
        "a\tb",
    )
    for name in refused:
        with pytest.raises(ConfigError, match="is no name for a file"):
            output_place(name)
    assert picture_folder("shapes") == host.input / "shapes"
    assert picture_folder(f'"{tmp_path}"') == tmp_path
    for text, reason in (("", "no folder is given"), ("../..", "leads out of")):
        with pytest.raises(ConfigError, match=reason):
            picture_folder(text)
    with pytest.raises(DataError, match="there is no such folder"):
        picture_folder("nowhere")


def test_folders_that_are_links_to_another_disk_are_read_and_written(
    host: Host, tmp_path: Path
) -> None:
    """Many keep their models and pictures on a second disk."""
    (tmp_path / "disk" / "1_cat").mkdir(parents=True)
    for folder in (host.input, host.loras):
        try:
            (folder / "linked").symlink_to(tmp_path / "disk", target_is_directory=True)
        except OSError:
            pytest.skip("this system allows no links")
    assert "linked" in input_folders()
    assert picture_folder("linked") == host.input / "linked"
    assert picture_folder("linked/1_cat").is_dir()
    assert output_place("linked/mine") == (host.loras / "linked", "mine")

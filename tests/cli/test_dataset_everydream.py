"""`lycoris-ext dataset tags --everydream`: tags of EveryDream2's folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from lycoris_ext.cli import main
from tests.tiny_pictures import write_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for number, leaf in enumerate(("a/x", "a/y", "b")):
        (root / leaf).mkdir(parents=True)
        write_picture(root / leaf / "0.png", number)
        (root / leaf / "0.txt").write_text("cat, Red_Hat")
    return root


def written(folder: Path) -> dict[str, str]:
    assert main(["dataset", "tags", str(folder), "--everydream", "--set", "e", "--write"]) == 0
    files = sorted(folder.rglob("caption_sets/e/0.txt"))
    return {f.relative_to(folder).parts[-4]: f.read_text().strip() for f in files}


def test_local_tags_stay_in_their_folder_and_global_ones_go_down(folder: Path) -> None:
    (folder / "global.yml").write_text("tags: [everywhere, red hat]\nmultiply: 2\n")
    (folder / "a" / "global.yaml").write_text("tags:\n  - tag: in a\n    weight: 1.5\n")
    (folder / "a" / "local.yaml").write_text("tags: [not below]\n")
    (folder / "a" / "x" / "local.yaml").write_text("main_prompt: no\ntags:\n  - in  x\n  - 3\n")
    (folder.parent / "global.yaml").write_text("tags: [outside]\n")
    assert written(folder) == {
        "x": "cat, Red_Hat, in x, 3, in a, everywhere",
        "y": "cat, Red_Hat, in a, everywhere",
        "b": "cat, Red_Hat, everywhere",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tags: {a: 1}", "expected a list of tags"),
        ("tags: [[a]]", "expected a list of tags"),
        ("tags: [a, '']", "expected a list of tags"),
        ("tags: [a", "no valid YAML"),
        (None, "no local.yaml and no global.yaml"),
    ],
)
def test_files_that_cannot_be_used_are_told(
    folder: Path, text: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (folder / "global.yaml").write_text(text)
    assert main(["dataset", "tags", str(folder), "--everydream", "--write"]) != 0
    assert message in capsys.readouterr().err
    assert not list(folder.rglob("caption_sets"))

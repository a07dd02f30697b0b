"""A finished run is used again, and leaves nothing behind but its files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from comfy_nodes.dataset import DatasetFolder
from lycoris_ext.errors import ConfigError, DataError
from tests.comfy_nodes.models import SpatialTransformer, load_models
from tests.comfy_nodes.stand_ins import Host
from tests.comfy_nodes.test_train import dataset, steps, train


def name(models: Any = None, data: dict[str, Any] | None = None, **more: Any) -> str:
    """Train as a restarted ComfyUI does; return the name of the adapter's file."""
    return Path(train(models or load_models(), dataset(**(data or {})), **more)["result"][1]).stem


def test_a_taken_name_is_used_again_numbered_overwritten_or_continued_as_chosen(
    host: Host,
) -> None:
    assert [name(), name(), name(when_it_exists="new name")] == ["mine", "mine", "mine-2"]
    assert name(when_it_exists="overwrite") == "mine"
    with pytest.raises(DataError, match="exist already"):
        name(when_it_exists="continue", max_train_steps=6)
    longer = {"when_it_exists": "continue", "output_name": "long"}
    assert name(**longer) == name(**longer) == "long"
    assert steps(host, "long") == [1, 2, 3, 4]
    with pytest.raises(ConfigError, match="this run is finished at step 4, and 3 are asked"):
        name(**longer, max_train_steps=3)
    assert name(**longer, max_train_steps=6) == "long"
    assert steps(host, "long") == [1, 2, 3, 4, 5, 6]


def test_a_run_that_is_used_again_gives_out_what_it_gave(host: Host) -> None:
    more = {"sample_every_n_steps": 2, "sample_prompts": "a cat\na dog", "sample_steps": 1}
    more["save_every_n_steps"] = 2
    first = train(load_models(), dataset(), **more)["result"]
    written = {path: path.stat().st_mtime_ns for path in host.loras.rglob("*")}
    again = train(load_models(), dataset(), **more)["result"]
    assert {path: path.stat().st_mtime_ns for path in host.loras.rglob("*")} == written
    assert dict(first[0]).keys() == dict(again[0]).keys() and first[1:2] == again[1:2]
    assert (first[2] == again[2]).all() and first[3].shape == again[3].shape
    assert [path.stem for path in first[4]] == ["mine-step-2", "mine"] and first[4] == again[4]
    assert "it is used again" in host.shown[-1][1]
    for path in (host.loras / "mine.events.jsonl", *(host.loras / "sample").iterdir()):
        path.unlink()
    for log in (None, b"", b'{"event": "start"}\n'):  # deleted, emptied, without any step
        if log is not None:
            (host.loras / "mine.events.jsonl").write_bytes(log)
        bare = train(load_models(), dataset(), **more)["result"]
        assert bare[1] == first[1] and bare[3].shape == bare[2].shape


def test_copies_and_pictures_that_a_used_run_lacks_are_told(host: Host) -> None:
    lacking = "no copies were saved in that run", "no pictures were drawn in that run"
    assert name() == name() == "mine"
    assert not any(what in host.shown[-1][1] for what in lacking)
    more = {"save_every_n_steps": 2, "sample_every_n_steps": 2, "sample_steps": 1}
    assert name(**more) == "mine"
    assert all(what in host.shown[-1][1] for what in lacking)
    assert name(when_it_exists="new name", **more) == "mine-2"
    assert not any(what in host.shown[-1][1] for what in lacking)


@pytest.mark.parametrize("kind", ["junk", "touched", "preview", "saving", "folder", "order"])
def test_what_decides_no_weight_trains_nothing_anew(host: Host, kind: str) -> None:
    assert name() == "mine"
    shapes, more = host.input / "shapes" / "2_shapes", {}
    if kind == "junk":
        for junk in (".DS_Store", "Thumbs.db", "desktop.ini", "notes.md"):
            (shapes / junk).write_bytes(b"new")
    elif kind == "touched":
        for path in shapes.iterdir():
            os.utime(path, ns=(1, 1))
    elif kind == "preview":
        more = {"sample_every_n_steps": 1, "sample_cfg": 3.0, "sample_negative": "blurry"}
    elif kind == "saving":
        more = {"save_every_n_steps": 1}
    elif kind == "folder":
        shapes.parent.rename(host.input / "elsewhere")
        options = {"resolution": 32, "train_batch_size": 2, "num_repeats": 1}
        data = DatasetFolder().read("elsewhere", **options, enable_bucket=False)[0]
        assert Path(train(load_models(), data)["result"][1]).stem == "mine"
        return
    else:
        assert name(max_train_steps=3) == "mine-2", "another run in between"
    assert name(**more) == "mine"


@pytest.mark.parametrize(
    "more",
    [
        {"max_train_steps": 3},
        {"seed": 2},
        {"save_precision": "float"},
        {"data": {"shuffle_caption": True}},
    ],
)
def test_what_decides_the_result_trains_anew(host: Host, more: dict[str, Any]) -> None:
    assert name() == "mine"
    assert [name(**more), name(**more), name()] == ["mine-2", "mine-2", "mine"]


def test_another_caption_model_or_lora_before_it_trains_anew(host: Host) -> None:
    assert name() == "mine"
    patched = load_models()
    patched[0].model.diffusion_model.out[2].weight.data.add_(0.1)
    assert name(patched) == "mine-2"
    (host.input / "shapes" / "2_shapes" / "00.txt").write_text("something else", encoding="utf-8")
    assert name() == "mine-3"


def test_a_file_that_another_program_wrote_under_the_name_is_left_alone(host: Host) -> None:
    (host.loras / "mine.safetensors").write_bytes(b"no adapter")
    assert name() == "mine-2"
    assert (host.loras / "mine.safetensors").read_bytes() == b"no adapter"


def test_a_finished_run_leaves_no_state_unless_it_may_be_continued(host: Host) -> None:
    name()
    kept = {f"mine{end}" for end in (".safetensors", ".toml", ".events.jsonl", ".dataset.json.gz")}
    assert {path.name for path in host.loras.iterdir()} == kept
    name(output_name="long", when_it_exists="continue")
    assert (host.loras / "long.state").is_file()
    assert re.search(r"long\.state \(.* kB\) is kept", host.shown[-1][1])


def test_a_run_that_fails_before_anything_is_saved_leaves_no_files(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a mistake")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="a mistake"):
        patched.setattr(SpatialTransformer, "forward", fail)
        name()
    assert list(host.loras.iterdir()) == []


def test_the_data_set_is_read_again_only_when_something_in_it_changed(host: Host) -> None:
    shapes = host.input / "shapes" / "2_shapes"
    before = DatasetFolder.IS_CHANGED(folder="shapes", path="")
    (shapes / ".DS_Store").write_bytes(b"new")
    (shapes / "Thumbs.db").write_bytes(b"new")
    os.utime(shapes / "00.txt", ns=(1, 1))
    assert DatasetFolder.IS_CHANGED(folder="shapes", path="") == before
    assert DatasetFolder.IS_CHANGED(folder="shapes", path="") == before
    (shapes / "00.txt").write_text("other", encoding="utf-8")
    changed = DatasetFolder.IS_CHANGED(folder="shapes", path="")
    assert changed != before
    (shapes / "00.png").unlink()
    assert DatasetFolder.IS_CHANGED(folder="shapes", path="") != changed
    for text in ("a cat", "a dog"):  # an advanced node may say that captions end so
        before = DatasetFolder.IS_CHANGED(folder="shapes", path="")
        (shapes / "01.tags").write_text(text, encoding="utf-8")
        os.utime(shapes / "01.tags", ns=(len(text), ord(text[2])))
        assert DatasetFolder.IS_CHANGED(folder="shapes", path="") != before


def test_a_grid_takes_the_files_of_the_run_and_of_no_other(host: Host) -> None:
    """The second training must not leave the first one's epochs in the grid."""
    odd = {"output_name": "my [1] epochs", "save_every_n_steps": 2}
    first = train(load_models(), dataset(), **odd)["result"][4]
    second = train(load_models(), dataset(), **odd, seed=5)["result"][4]
    assert [path.stem for path in first] == ["my [1] epochs-step-2", "my [1] epochs"]
    assert [path.stem for path in second] == ["my [1] epochs-2-step-2", "my [1] epochs-2"]

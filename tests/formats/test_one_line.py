"""A name or value in a stranger's file begins no line of what is told about the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lycoris_ext import cli
from lycoris_ext.errors import LycorisExtError
from lycoris_ext.formats import load_adapter
from lycoris_ext.formats.metadata import HEADINGS, OPTIONS
from lycoris_ext.formats.weights import load_weights

EVIL = "x\nINJECTED: all is well\r\nINJECTED\x1b[31m\u2028INJECTED\tx"
LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
READERS: dict[str, Callable[[Path], object]] = {
    "an adapter": load_adapter,
    "weights of a model": load_weights,
    "info": lambda path: cli.main(["info", str(path)]),
    "config": lambda path: cli.main(["config", str(path), "--output", f"{path}.toml"]),
    "dataset diff": lambda path: cli.main(["dataset", "diff", str(path)]),
}


def lines_of(read: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return all lines that are told; those of an error, too."""
    capsys.readouterr()
    error = ""
    try:
        read()
    except LycorisExtError as raised:
        error = str(raised)
    said = capsys.readouterr()
    return (said.out + said.err + error).split("\n")


def check(lines: list[str]) -> None:
    for line in lines:
        assert not line.lstrip().startswith("INJECTED"), line
        assert "\x1b" not in line and "\r" not in line and "\u2028" not in line


def tensors(key: str) -> dict[str, torch.Tensor]:
    return {
        f"{key}.lora_down.weight": torch.zeros(2, 4),
        f"{key}.lora_up.weight": torch.zeros(4, 2),
    }


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
@pytest.mark.parametrize("key", [EVIL, f"{LAYER}{EVIL}", f"lora_unet_{EVIL}", "a\nINJECTED"])
def test_a_key_with_a_line_break_is_refused_by_every_reader(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reader: str, ending: str, key: str
) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "pt":
        torch.save(tensors(key), path)
    else:
        save_file(tensors(key), path)
    lines = lines_of(lambda: READERS[reader](path), capsys)
    check(lines)
    if (reader, ending) != ("dataset diff", "pt"):  # it reads no such files
        assert any("holds a line break or a control character" in line for line in lines)


FIELDS = [
    *HEADINGS,
    *(f"ss_{name}" for name in OPTIONS),
    *("ss_dataset_dirs", "ss_tag_frequency", "ss_bucket_info", "ss_datasets", "ss_optimizer"),
    *("modelspec.title", "modelspec.architecture", "modelspec.trigger_phrase"),
    *("lycoris_ext_config", "lora_adapter_metadata", "sshs_model_hash", "sshs_legacy_hash"),
    *("format", EVIL),
]
READ_FIRST = ("ss_network_args", "lycoris_ext_config", "lora_adapter_metadata", "ss_optimizer")
"""Fields that end the reading where they are wrong, so that no other would be read."""
VALUES = {
    "a text": EVIL,
    "a JSON object": json.dumps({EVIL: {EVIL: 1, "n_repeats": EVIL}, "algo": EVIL}),
    "a JSON text": json.dumps(EVIL),
    "TOML": f"{json.dumps(EVIL)} = 1\nalgo = {json.dumps(EVIL)}",
    "Python": f"x.Prodigy({EVIL}=1,x={EVIL!r})",
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("reader", ["info", "config", "dataset diff"])
def test_no_metadata_begins_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reader: str, value: str
) -> None:
    path = tmp_path / "a.safetensors"
    for fields in (FIELDS, *([field] for field in READ_FIRST)):
        metadata = {"ss_network_module": "networks.lora", "lycoris_ext_dataset": "0"}
        save_file(tensors(LAYER), path, {**metadata, **dict.fromkeys(fields, VALUES[value])})
        check(lines_of(lambda: READERS[reader](path), capsys))
        Path(f"{path}.toml").unlink(missing_ok=True)

"""Adapters in files of torch and in folders are read wherever a safetensors file is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lycoris_ext.cli import config, info
from lycoris_ext.errors import DataError, FormatError
from lycoris_ext.formats import AdapterState, load_adapter, open_adapter, save_adapter
from lycoris_ext.formats.adapter_file import read_adapter_file
from lycoris_ext.formats.summary import refuse_other_files, summarize
from lycoris_ext.network import load_network
from tests.stand_ins import stand_in

LAYER = "down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_q"
Reader = Callable[[Path], AdapterState]
READERS = [load_adapter, open_adapter]


def tensors(start: str = "") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        f"{start}{LAYER}.lora_A.weight": torch.randn(2, 6, generator=generator),
        f"{start}{LAYER}.lora_B.weight": torch.randn(8, 2, generator=generator),
    }


def same(state: AdapterState, expected: dict[str, Tensor]) -> None:
    assert state.tensors.keys() == expected.keys()
    assert all(torch.equal(state.tensors[key], tensor) for key, tensor in expected.items())


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", ["a.bin", "a.pt", "a.pth", "a.ckpt", "a.safetensors", "a"])
def test_a_file_of_torch_is_read_whatever_its_name(name: str, read: Reader, tmp_path: Path) -> None:
    stored = {key: nn.Parameter(tensor) for key, tensor in tensors("unet.").items()}
    torch.save({"state_dict": stored}, tmp_path / name)
    same(read(tmp_path / name), tensors("unet."))


def test_the_commands_take_files_of_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(tensors("unet."), "a.bin")
    assert summarize(Path("a.bin")).bytes == Path("a.bin").stat().st_size
    assert info.main(["a.bin"]) == 0
    assert "lora, rank 2, alpha 2: 1 module" in " ".join(capsys.readouterr().out.split())
    assert config.main(["a.bin"]) == 0
    assert "network_dim = 2" in Path("a.toml").read_text(encoding="utf-8")


def test_tensors_that_share_their_numbers_are_read(tmp_path: Path) -> None:
    whole = torch.randn(20, 6)
    shared = {
        f"{LAYER}.lora_A.weight": whole[:2],
        f"{LAYER}.lora_B.weight": whole[2:10, ::3],
    }
    torch.save(shared, tmp_path / "a.pt")
    same(load_adapter(tmp_path / "a.pt"), shared)


def test_a_file_of_torch_with_nan_is_refused(tmp_path: Path) -> None:
    torch.save({key: tensor / 0 for key, tensor in tensors().items()}, tmp_path / "a.pt")
    with pytest.raises(FormatError, match=r"a\.pt: holds NaN or infinity in 2 tensors"):
        load_adapter(tmp_path / "a.pt")


def test_a_model_of_torch_is_refused_before_its_numbers_are_read(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(3), "a.bias": torch.zeros(3)}, tmp_path / "a.ckpt")
    with pytest.raises(FormatError, match="none of its 2 tensors belongs to an adapter"):
        read_adapter_file(tmp_path / "a.ckpt", refuse_other_files)


def test_a_safetensors_file_may_begin_with_the_bytes_of_a_zip_file(tmp_path: Path) -> None:
    save_adapter(tmp_path / "a", AdapterState(tensors(), {}))
    content = (tmp_path / "a").read_bytes()
    length = int.from_bytes(content[:8], "little")
    more = int.from_bytes(b"PK\0\0", "little") - length
    padded = b"PK\0\0\0\0\0\0" + content[8 : 8 + length] + b" " * more + content[8 + length :]
    (tmp_path / "b").write_bytes(padded)
    same(load_adapter(tmp_path / "b"), tensors())


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("start", ["base_model.model.", ""])
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_folder_of_peft_is_read_with_its_config(
    start: str, ending: str, read: Reader, tmp_path: Path
) -> None:
    file = tmp_path / f"adapter_model.{ending}"
    if ending == "bin":
        torch.save(tensors(start), file)
    else:
        safetensors.torch.save_file(tensors(start), file)
    settings = {"lora_alpha": 9, "r": 2, "alpha_pattern": {}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    for path in (tmp_path, file):
        (layer,) = read(path).layers().values()
        assert float(layer["alpha"]) == 9
        network = load_network(path, {"unet": stand_in("sd")["unet"]})
        assert {one.plan.alpha for one in network.layers.values()} == {9.0}
    assert summarize(tmp_path).layers[0].alpha == 9
    shutil.copy(file, tmp_path / "pytorch_lora_weights.safetensors")  # PEFT's own name counts first
    assert read_adapter_file(tmp_path).path == file


def test_a_folder_of_diffusers_is_read(tmp_path: Path) -> None:
    safetensors.torch.save_file(tensors("unet."), tmp_path / "pytorch_lora_weights.safetensors")
    same(load_adapter(tmp_path), tensors("unet."))


@pytest.mark.parametrize("read", [*READERS, read_adapter_file])
def test_a_folder_without_an_adapter_is_refused_by_name(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"is a folder, and none of adapter_model\.saf") as caught:
        read(tmp_path)
    assert caught.value.where == str(tmp_path)


def test_bundled_embeddings_are_named_and_kept(tmp_path: Path) -> None:
    words = {
        "bundle_emb.my.word.clip_l": torch.randn(2, 8),
        "bundle_emb.my.word.clip_g": torch.randn(2, 12),
        "bundle_emb.other.string_to_param.*": torch.randn(1, 8),
    }
    path = tmp_path / "a.safetensors"
    save_adapter(path, AdapterState({**tensors("unet."), **words}))
    assert summarize(path).embeddings == ("my.word", "other")
    assert "my.word, other (textual inversions)" in "\n".join(info.describe(summarize(path)))
    model = {"unet": stand_in("sd")["unet"]}
    network = load_network(path, model)
    save_adapter(tmp_path / "b", network.adapter_state())
    for state in (load_adapter(path), load_adapter(tmp_path / "b")):
        assert len(state.layers()) == 1
        assert state.embeddings().keys() == words.keys()
        assert all(torch.equal(state.tensors[key], word) for key, word in words.items())
    other = load_network(AdapterState(tensors("unet.")), model)
    other.load_adapter_state(load_adapter(path))
    assert words.keys() < other.adapter_state().tensors.keys()

"""Files that are no adapters are named for what they are, by every reader, with the file's name."""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save, save_file
from torch import Tensor, nn

from comfy_nodes.inspect_file import Inspect
from comfy_nodes.load import Load
from kohya_adapter import create_network_from_weights
from lycoris_ext.cli import config, info
from lycoris_ext.data.decode import decode
from lycoris_ext.errors import DataError, FormatError, LycorisExtError
from lycoris_ext.formats import load_adapter, open_adapter
from lycoris_ext.formats.strangers import ADAPTER, KINDS, LOOK, kind_of, start_of
from lycoris_ext.formats.torch_file import load_torch_file
from lycoris_ext.formats.weights import fault_of, load_weights
from lycoris_ext.grids.checkpoints import list_run
from lycoris_ext.network import NetworkConfig, build_network, load_network
from lycoris_ext.runs.state import load_state
from lycoris_ext.training.start import read_start_weights
from lycoris_ext.training.start_config import StartConfig

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 151108831\n"
)
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in &amp; download</title></head></html>"


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, kind)
    return stream.getvalue()


def archive(name: str, content: bytes = b"x") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        written.writestr(name, content)
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as written:
        written.addfile(tarfile.TarInfo("a.safetensors"))
    return stream.getvalue()


#: content of a file -> what must be said
STARTS: dict[str, tuple[bytes, str]] = {
    "pointer": (POINTER, "a Git LFS pointer: 0.1 kB in place of the 151.11 MB of the file"),
    "pointer of Windows": (POINTER.replace(b"\n", b"\r\n"), "a Git LFS pointer"),
    "page": (PAGE, 'a web page ("Sign in &amp; download")'),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
    "json": (b'{"error": "Access to model x is restricted."}', "a JSON text, perhaps the answer"),
    "config": (b"# mine\n\nnetwork_dim = 8\nalgo = 'loha'\n", "a config in TOML, not a file of"),
    "config in tables": (b"[network]\r\nalgo = 'loha'\r\n", "a config in TOML, not a file of"),
    "list in JSON": (b'["denied"]', "a JSON text, perhaps the answer"),
    "words": (b"Entry not found", 'it says: "Entry not found"'),
    "words of Windows": ("Zugriff verweigert".encode("utf-16"), 'it says: "Zugriff verweigert"'),
    "long text": ("ä é 中 text ".encode() * 60, "it begins:"),
    "nothing": (b"", "a file that holds nothing"),
    "white space": (b"\r\n", "nothing but white space (2 bytes)"),
    "zeros": (bytes(5000), "a file of zeros"),
    "zip": (archive("my lora/style.safetensors"), "a zip archive, which begins with my lora/style"),
    "npz": (archive("latents.npy"), "an archive of NumPy's arrays"),
    "tar": (tar(), "a tar archive"),
    "gzip": (gzip.compress(b"x" * 100), "a gzip archive"),
    "rar": (b"Rar!\x1a\7\1\0" + bytes(40), "a RAR archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(40), "a 7z archive"),
    "png": (picture("PNG"), "a PNG picture"),
    "jpeg": (picture("JPEG"), "a JPEG picture"),
    "webp": (picture("WEBP"), "a WebP picture"),
    "gguf": (b"GGUF\3\0\0\0" + bytes(40), "a GGUF file"),
    "apple": (b"\0\5\x16\7\0\2\0\0Mac OS X", "what macOS keeps beside a file"),
}


def ones(*shapes: int | tuple[int, ...]) -> Tensor:
    return torch.ones(*shapes)  # type: ignore[arg-type]


ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
#: tensors of a file -> what must be said of it as an adapter
CONTENTS: dict[str, tuple[Mapping[str, Tensor], str]] = {
    "broken conversion": (
        {f"lora_unet_unet_mid_block_attn1_to_q_lora_{end}.weight": ones(4, 8) for end in
         ("down", "up")},
        "a broken conversion: its names lack the dot",
    ),
    "embedding of A1111": ({"emb_params": ones(2, 768)}, "a textual inversion"),
    "embedding of SDXL": ({"clip_l": ones(2, 768), "clip_g": ones(2, 1280)}, "a textual inversion"),
    "embedding of diffusers": ({"<my-toy>": ones(1, 768)}, "a textual inversion"),
    "embedding of one token": ({"<my-toy>": ones(1024)}, "a textual inversion"),
    "pivotal tuning": ({"text_encoders_0": ones(2, 768)}, "a textual inversion"),
    "ControlNet-LoRA": (
        {"lora_controlnet": ones(1), "input_hint_block.0.weight": ones(2, 2),
         "input_blocks.1.0.in_layers.2.up": ones(2, 2)},
        "a ControlNet-LoRA",
    ),
    "LLLite": (
        {"lllite_unet_input_blocks_4_1_attn1_to_q.down.0.weight": ones(2, 2)},
        "a ControlNet-LLLite",
    ),
    "Control LoRA": (
        {"img_in.lora_A.weight": ones(2, 4), "img_in.lora_B.weight": ones(4, 2),
         "img_in.lora_B.bias": ones(4),
         "double_blocks.0.img_attn.norm.key_norm.scale": ones(4)},
        "a Control LoRA for FLUX",
    ),
    "x-flux": (
        {"double_blocks.0.processor.proj_lora1.down.weight": ones(2, 4)},
        "a LoRA of x-flux",
    ),
    "HCP": ({f"{ATTENTION}.to_q.___.layer.W_down": ones(2, 4)}, "a LoRA of HCP-Diffusion"),
    "motion LoRA": (
        {"down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0."
         "attention_blocks.0.processor.to_k_lora.down.weight": ones(2, 4)},
        "a motion LoRA",
    ),
    "language model": (
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": ones(2, 4)},
        "a LoRA of a language model",
    ),
    "state": ({"network/x": ones(2), "header": ones(2)}, "the state of a training run"),
    "ControlNet": ({"control_model.input_hint_block.0.weight": ones(2, 2)}, "a ControlNet"),
    "IP-Adapter": ({"image_proj.proj.weight": ones(2, 2)}, "an IP-Adapter"),
    "checkpoint": (
        {"model.diffusion_model.input_blocks.0.0.weight": ones(2, 2),
         "cond_stage_model.transformer.text_model.final_layer_norm.bias": ones(2)},
        "a whole model (checkpoint)",
    ),
    "FLUX": (
        {"double_blocks.0.img_attn.qkv.weight": ones(2, 2),
         "single_blocks.0.linear1.weight": ones(2, 2)},
        "a model of the FLUX.1 family",
    ),
    "VAE": ({"decoder.conv_in.weight": ones(2, 2)}, "an autoencoder (VAE) alone"),
    "U-Net": ({"down_blocks.0.resnets.0.conv1.weight": ones(2, 2)}, "a U-Net alone"),
    "text encoder": (
        {"text_model.embeddings.token_embedding.weight": ones(2, 2)},
        "a text encoder alone",
    ),
    "no tensors": ({}, "holds no tensors"),
}  # fmt: skip


def start_from(path: Path) -> None:
    read_start_weights(StartConfig(network_weights=str(path), dim_from_weights=True))


#: Every way in which a file is taken for an adapter.
DOORS: dict[str, Callable[[Path], Any]] = {
    "load_adapter": load_adapter,
    "open_adapter": open_adapter,
    "load_network": lambda path: load_network(path, {"unet": nn.Linear(2, 2)}),
    "info": lambda path: info.main([str(path)]),
    "config": lambda path: config.main([str(path), "--output", str(path.with_suffix(".toml"))]),
    "network_weights": start_from,
    "base_weights": lambda path: read_start_weights(StartConfig(base_weights=(str(path),))),
    "ComfyUI's Load": lambda path: Load().read(str(path)),
    "ComfyUI's Inspect": lambda path: Inspect().tell(str(path)),
    "kohya": lambda path: create_network_from_weights(1.0, path, None, None, nn.Linear(2, 2)),
}


def refusal(door: Callable[[Path], Any], path: Path) -> LycorisExtError:
    with pytest.raises(DataError) as caught:
        door(path)
    return caught.value


@pytest.fixture
def comfyui(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the modules by which ComfyUI finds a file and shows a text."""
    place = SimpleNamespace(get_full_path=lambda _, name: name)
    monkeypatch.setitem(sys.modules, "folder_paths", place)
    server = SimpleNamespace(PromptServer=SimpleNamespace(instance=None))
    monkeypatch.setitem(sys.modules, "server", server)


@pytest.mark.usefixtures("comfyui")
@pytest.mark.parametrize("door", DOORS)
def test_every_reader_of_adapters_names_what_a_file_is(door: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    for content, said in STARTS.values():
        path.write_bytes(content)
        error = refusal(DOORS[door], path)
        assert said in error.what and str(path) in str(error.where) and error.fix, said
    for tensors, said in CONTENTS.values():
        save_file(dict(tensors), path)
        error = refusal(DOORS[door], path)
        assert said in error.what and str(path) in str(error.where) and error.fix, said


@pytest.mark.parametrize("ending", [".safetensors", ".ckpt", ".pt"])
def test_readers_of_models_name_what_a_file_is(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{ending}"
    for content, said in STARTS.values():
        path.write_bytes(content)
        doors = [load_weights, *([] if ending == ".safetensors" else [load_torch_file])]
        for door in doors:
            error = refusal(door, path)
            assert said in error.what and error.where == str(path) and error.fix


def test_a_list_of_a_runs_files_says_what_each_stranger_is(tmp_path: Path) -> None:
    for name, (content, _) in STARTS.items():
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    found = dict(list_run(tmp_path).refused)
    assert len(found) == len(STARTS)
    for name, (_, said) in STARTS.items():
        assert said[:30] in found[f"{name}.safetensors"]


def test_a_state_and_a_picture_that_are_pointers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    path.write_bytes(POINTER)
    assert "Git LFS pointer" in refusal(load_state, path).what
    for content in (POINTER, PAGE):
        assert "this is a" in refusal(lambda p: decode(p, content), tmp_path / "a.png").what  # noqa: B023


def test_an_unfinished_download_is_told_with_both_sizes(tmp_path: Path) -> None:
    content = save({"lora_unet_x.lora_down.weight": ones(64, 64)})
    path = tmp_path / "a.safetensors"
    for door in (load_adapter, open_adapter, start_from, load_weights):
        for length in (20, len(content) - 1):
            path.write_bytes(content[:length])
            assert f"is cut off: {length:,} bytes are there, and " in refusal(door, path).what
    assert f"and {len(content):,} are needed" in refusal(load_adapter, path).what
    torch.save({"a": ones(64, 64)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    assert f"is cut off: {len(whole) - 50:,} bytes" in refusal(load_torch_file, path).what


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"string_to_token": {"*": 265}, "string_to_param": {"*": ones(2, 768)}}, "a textual inv"),
        ({768: (), 320: (), "layer_structure": [1, 2, 1], "name": "hyper"}, "a hypernetwork"),
        ({768: (), 320: (), 640: (), 1280: ()}, "a hypernetwork"),
        ({"state": {}, "param_groups": []}, "the state of an optimizer"),
        (["a list"], "holds no tensors"),
        ({10**60: 1, ("a", ("b",)): 2, None: 3}, "holds no tensors"),
    ],
)
def test_files_of_torch_save_without_weights_are_named(
    tmp_path: Path, content: object, said: str
) -> None:
    path = tmp_path / "a.pt"
    torch.save(content, path)
    for door in (load_torch_file, load_adapter, DOORS["info"], start_from):
        error = refusal(door, path)
        assert said in error.what and str(path) in str(error.where)


def test_a_file_of_torch_save_is_named_by_names_and_sizes(tmp_path: Path) -> None:
    path = tmp_path / "learned_embeds.bin"
    for name in ("embedding of diffusers", "embedding of one token", "pivotal tuning", "VAE"):
        tensors, said = CONTENTS[name]
        torch.save(dict(tensors), path)
        for door in ("load_adapter", "info", "network_weights"):
            assert said in refusal(DOORS[door], path).what


def test_the_names_of_all_algorithms_adapters_are_no_strangers() -> None:
    for algo in ("locon", "loha", "lokr", "full", "ia3", "diag-oft", "boft", "glora", "norm"):
        layer = nn.LayerNorm(8) if algo == "norm" else nn.Linear(8, 8)
        options = NetworkConfig(algo=algo, network_dim=4)
        tensors = build_network({"m": nn.Sequential(layer)}, options).adapter_state().tensors
        for start in ("lycoris_", "lora_unet_", "unet.", "model.diffusion_model."):
            named = {key.replace("lycoris_", start): (2, 2) for key in tensors}
            assert kind_of(named) in (None, ADAPTER), (algo, start)


def test_a_list_of_tensors_is_no_stranger() -> None:
    assert kind_of({str(number): (4, 320) for number in range(1000)}) is None


def test_architectures_of_the_metadata_name_a_kind() -> None:
    told = {"modelspec.architecture": "stable-diffusion-v1/textual-inversion"}
    kind = kind_of({"vectors": (3, 5)}, told)
    assert kind is not None and kind.name.startswith("a textual inversion")
    told["modelspec.architecture"] = "stable-diffusion-v1/lora"
    assert kind_of({"vectors": (3, 5)}, told) is None


def test_a_safetensors_file_is_never_taken_for_something_else() -> None:
    """Its first bytes are the length of the header, which may look like a signature."""
    for kind in KINDS:
        for start in kind.starts:
            length = start[:4] if kind.at == 0 else b"\x08\1\0\0"
            content = length.ljust(8, b"\0") + b'{"a":' + b" " * LOOK
            assert start_of(content[:LOOK], 10**9) is None


@settings(max_examples=300)
@given(st.binary(max_size=600))
def test_any_bytes_are_a_kind_or_none(content: bytes) -> None:
    kind = start_of(content[:LOOK], len(content))
    assert kind is None or (kind.name and kind.name.isprintable() and kind.mend)


@settings(max_examples=200)
@given(
    st.dictionaries(st.text(max_size=30), st.lists(st.integers(0, 2000), max_size=3), max_size=5),
    st.dictionaries(st.just("modelspec.architecture"), st.text(max_size=30)),
)
def test_any_names_and_shapes_are_a_kind_or_none(
    shapes: dict[str, list[int]], metadata: dict[str, str]
) -> None:
    kind = kind_of(shapes, metadata)
    assert kind is None or kind.name


def test_a_sound_file_has_no_fault(tmp_path: Path) -> None:
    save_file({"a": ones(2)}, tmp_path / "a.safetensors")
    torch.save({"a": ones(2)}, tmp_path / "a.pt")
    assert fault_of(tmp_path / "a.safetensors") is None
    assert fault_of(tmp_path / "a.pt") is None
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "b").write_bytes(struct.pack("<Q", len(header)) + header + bytes(9))
    assert isinstance(fault_of(tmp_path / "b"), FormatError)

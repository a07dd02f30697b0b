"""Adapter files with flipped bits, cut ends, and tensors that no trainer writes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lycoris_ext.errors import LycorisExtError
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.formats.container import read_header
from lycoris_ext.formats.doubts import doubts
from lycoris_ext.formats.summary import plans_of, summarize
from lycoris_ext.network import NetworkConfig, build_network, load_network
from tests.faults.trials import Kind, Trial

_ALGORITHMS = (
    {"algo": "lora"},
    {"algo": "lora", "dora_wd": True},
    {"algo": "loha"},
    {"algo": "lokr", "factor": 2},
    {"algo": "full"},
    {"algo": "ia3"},
    {"algo": "diag-oft"},
    {"algo": "glora"},
)
_DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn),
    *(torch.int64, torch.int32, torch.uint8, torch.bool),
)
_NUMBERS = (0.0, 1.0, -1.0, 1e-30, 65504.0, 1e30, 3e38, 1e300, float("nan"), float("inf"))
_SHAPES = ((), (1,), (1, 1), (0,), (2,), (192,), (4, 16), (16, 4), (4, 0), (1, 4, 16))


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 16), nn.Conv2d(4, 4, 3)).requires_grad_(False)


def _tensors(**config: object) -> dict[str, Tensor]:
    """Return the tensors of an adapter of the model that is not zero anywhere."""
    network = build_network(
        {"model": _model()}, NetworkConfig(**{"network_dim": 4, "conv_dim": 2, **config})
    )
    numbers = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += torch.randn(parameter.shape, generator=numbers) / 10
    return network.adapter_state().tensors


def _file(folder: Path) -> Path:
    path = folder / "x.safetensors"
    save_adapter(path, AdapterState(_tensors(algo="lora"), {"ss_steps": "20", "ss_tag": "tilty"}))
    return path


def _noticed(path: Path, whole: Mapping[str, Tensor]) -> str:
    """Return what is bad about reading a damaged adapter as all commands read it."""
    try:
        state = load_adapter(path)
        notes = doubts(state, plans_of(state))
        load_network(state, {"model": _model()})
    except LycorisExtError:
        return ""
    if notes or _same(state.tensors, whole):  # told; or it is the metadata that changed
        return ""
    return "loaded without a word"


def _same(found: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> bool:
    return found.keys() == whole.keys() and all(
        found[key].dtype == whole[key].dtype and torch.equal(found[key], whole[key])
        for key in whole
    )


def _flipped(number: int, seed: int, folder: Path, in_header: bool) -> Iterator[Trial]:
    chance, path = random.Random(seed), _file(folder)
    content, whole = path.read_bytes(), load_adapter(path).tensors
    start = read_header(content, "x").data_start
    places = range(start) if in_header else range(start, len(content))
    for _ in range(number):
        place, bit = chance.choice(places), chance.randrange(8)
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        yield Trial(f"bit {bit} of byte {place} of {len(content)}", _noticed(path, whole))


def _in_header(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    return _flipped(number, seed, folder, in_header=True)


def _in_data(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    return _flipped(number, seed, folder, in_header=False)


def _cut(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance, path = random.Random(seed), _file(folder)
    content, whole = path.read_bytes(), load_adapter(path).tensors
    for _ in range(number):
        length = chance.randrange(len(content))
        path.write_bytes(content[:length])
        yield Trial(f"cut to {length} of {len(content)} bytes", _noticed(path, whole))


def _strange(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    """Put numbers, shapes and dtypes into adapters that none has, and info, load and merge them."""
    chance, path = random.Random(seed), folder / "x.safetensors"
    made = [_tensors(**config) for config in _ALGORITHMS]
    for _ in range(number):
        tensors = dict(chance.choice(made))
        done = []
        for key in chance.sample(sorted(tensors), chance.choice((1, 1, 1, 2, 3))):
            dtype, value = chance.choice(_DTYPES), chance.choice(_NUMBERS)
            shape = tensors[key].shape if chance.random() < 0.6 else chance.choice(_SHAPES)
            tensors[key] = _filled(shape, value, dtype)
            done.append(f"{key} = {value:g} {tuple(shape)} {dtype}")
        _write(path, tensors)
        yield Trial("; ".join(done), _survived(path))


def _filled(shape: tuple[int, ...], value: float, dtype: torch.dtype) -> Tensor:
    whole = not dtype.is_floating_point
    number = int(max(-1, min(value, 100))) if whole and value == value else value
    number = 1 if whole and value != value else number
    number = max(number, 0) if dtype in (torch.uint8, torch.bool) else number
    return torch.full(shape, number, dtype=torch.float64).to(dtype)


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)


def _survived(path: Path) -> str:
    """Return what is bad about describing, loading, using and merging a strange adapter."""
    model, x = _model(), torch.ones(1, 16)
    try:
        notes = summarize(path).doubts
        network = load_network(load_adapter(path), {"model": model})
        with network.injected():
            out = model[0](x)
        if not notes and not bool(out.isfinite().all()):
            return "its layer draws NaN or infinity, and nobody says so"
        network.merge()
    except LycorisExtError:
        pass
    except Exception as error:  # noqa: BLE001 - what is looked for: anything but words
        return f"{type(error).__name__}: {error}"
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        return "NaN or infinity is left in the weights of the base"
    return ""


KINDS = [
    Kind("an adapter, one bit of its numbers flipped", _in_data, 50, 500, before=(100, 100)),
    Kind("an adapter, one bit of its header flipped", _in_header, 100, 600, before=(300, 111)),
    Kind("an adapter, cut at a random length", _cut, 20, 200, before=(50, 0)),
    Kind("an adapter with strange tensors", _strange, 120, 1000, before=(384, 22)),
]

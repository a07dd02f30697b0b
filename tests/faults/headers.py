"""Headers of .safetensors files that are made to cost much, and random mutations of real ones."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lycoris_ext.formats import load_adapter, open_adapter
from lycoris_ext.formats.adapter_file import read_adapter_file
from lycoris_ext.formats.container import MAX_HEADER, MAX_TENSORS
from lycoris_ext.formats.summary import describe_file
from lycoris_ext.formats.weights import load_weights
from tests.faults.bounded import NEEDS, read_or_refused
from tests.faults.trials import Kind, Trial


def _describe(path: Path) -> None:
    describe_file(read_adapter_file(path))


READERS: tuple[Callable[[Path], object], ...] = (
    load_adapter,
    open_adapter,
    load_weights,
    _describe,
)
_WORST = ("500 sides of 4,000 digits", "lists by the million", "a key of 5 MB")
"""What once took minutes, gigabytes or a line of megabytes; these are always tried."""


def _entry(start: int = 0, **changed: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [1, 1], "data_offsets": [start, start + 4]} | changed


def _raw(shape: str = "[1,1]", dtype: str = '"F32"', offsets: str = "[0,4]", key: str = "a") -> str:
    return f'{{"{key}":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}'


def _tensors(number: int, key: str) -> str:
    return json.dumps({key.format(place, place // 2): _entry(4 * place) for place in range(number)})


def hostile_headers() -> dict[str, Callable[[], str | bytes]]:
    """Return name -> what makes the header."""
    digits = "9" * 4000
    layer = "lora_unet_{1}.lora_up.weight{0}"
    shapes = {
        "500 sides of 4,000 digits": f"[{','.join([digits] * 500)}]",
        "a side of 4,000 digits": f"[{digits}]",
        "a side of 5,000 digits": f"[{digits}0000]",
        "a side of a million digits": f"[{'9' * 1_000_000}]",
        "a side of -4,000 digits": f"[-{digits}]",
        "a side that is 1e400": "[1e400]",
        "a side that is NaN": "[NaN]",
        "a side that is true": "[true,4]",
        "a hundred sides": f"[{','.join(['1'] * 100)}]",
        "a million sides": f"[{','.join(['1'] * 1_000_000)}]",
        "empty and endless": f"[0,{2**62},{2**62}]",
        "sides that overflow": f"[{2**40},{2**40}]",
        "nested sides": "[" * 900 + "]" * 900,
        "sides nested 100,000 deep": "[" * 100_000 + "]" * 100_000,
        "a text as shape": '"44"',
        "an object as shape": '{"1":1}',
        "no shape": "null",
    }
    offsets = {
        "offsets of 4,000 digits": f"[{digits},{digits}]",
        "an end of 4,000 digits": f"[0,{digits}]",
        "offsets of a million digits": f"[0,{'9' * 1_000_000}]",
        "an end before the start": "[4,0]",
        "a million offsets": f"[{','.join(['1'] * 1_000_000)}]",
        "nested offsets": "[" * 900 + "]" * 900,
    }
    return {
        **{name: partial(_raw, shape) for name, shape in shapes.items()},
        **{name: partial(_raw, offsets=found) for name, found in offsets.items()},
        "a dtype of 5 MB": lambda: _raw(dtype='"' + "x" * 5_000_000 + '"'),
        "a nested dtype": lambda: _raw(dtype="[" * 900 + "]" * 900),
        "a key of 5 MB": lambda: _raw(key="lora_unet_" + "x" * 5_000_000 + ".alpha"),
        "a key of control characters": lambda: _raw(key="\\u001b]0;x\\u0007\\n\\r" * 40),
        "a key of half characters": lambda: _raw(key="\\ud800" * 100),
        "an empty key": lambda: _raw(key=""),
        "one key twice": lambda: _raw()[:-1] + "," + _raw(offsets="[4,8]")[1:],
        "lists by the million": lambda: '{"a":[' + "[]," * 9_000_000 + "0]}",
        "objects by the million": lambda: '{"a":[' + "{}," * 9_000_000 + "0]}",
        "texts by the million": lambda: '{"a":[' + '"",' * 9_000_000 + "0]}",
        "keys by the million": lambda: "{" + ",".join(f'"{n}":0' for n in range(2_000_000)) + "}",
        "a list as deep as the header": lambda: '{"a":' + "[" * 30_000_000,
        "objects as deep as the header": lambda: '{"a":' * 6_000_000,
        "an endless text": lambda: '{"' + '\\"' * 15_000_000,
        "zeros": lambda: "{" + "\0" * 1_000_000,
        "spaces": lambda: "{" + " " * (MAX_HEADER - 2) + "}",
        "no UTF-8": lambda: b"{" + b"\xff" * 1_000_000 + b"}",
        "longer than the bound": lambda: "{" + " " * MAX_HEADER + "}",
        "layers up to the bound": lambda: _tensors(MAX_TENSORS, layer),
        "one tensor more": lambda: _tensors(MAX_TENSORS + 1, layer),
        "one layer of them all": lambda: _tensors(MAX_TENSORS, "lora_unet_x.{0}"),
        "numbered layers": lambda: _tensors(MAX_TENSORS, "unet:{1}:up{0}"),
        **{
            f"metadata {field} of {name}": partial(_with_metadata, field, text)
            for field in ("ss_tag_frequency", "ss_network_args", "sshs_model_hash", "lora_alpha")
            for name, text in {
                "lists": "[" + "[]," * 5_000_000 + "0]",
                "depth": "[" * 1_000_000,
                "digits": "9" * 5_000_000,
                "control characters": "\x1b]0;x\x07\n" * 1000,
            }.items()
        },
        "metadata of numbers": lambda: json.dumps({"__metadata__": {"a": 1}, "b": _entry()}),
        "metadata that are a list": lambda: json.dumps({"__metadata__": ["a"], "b": _entry()}),
        "metadata of 200,000 fields": lambda: _with_metadata("a", "", 200_000),
    }


def _with_metadata(field: str, text: str, number: int = 0) -> str:
    fields = {field: text} | {str(place): "x" for place in range(number)}
    names = ("lora_unet_x.lora_up.weight", "lora_unet_x.lora_down.weight")
    tensors = {name: _entry(4 * place) for place, name in enumerate(names)}
    return json.dumps({"__metadata__": fields} | tensors)


def _write(path: Path, header: str | bytes) -> None:
    text = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
    data = b"\0" * (4 * min(text.count(b'"F32"'), MAX_TENSORS + 1) or 4)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def _by_hand(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    path, made = folder / "x.safetensors", hostile_headers()
    tried = [(name, reader) for name in made for reader in READERS]
    first = [(name, reader) for name in _WORST for reader in (_describe, load_weights)]
    others = [one for one in tried if one not in first]
    random.Random(seed).shuffle(others)
    for name, reader in (first + others)[:number]:
        _write(path, made[name]())
        attempt = (f"{name}, {getattr(reader, '__name__', '')}", partial(reader, path))
        yield from read_or_refused([attempt])


def _nasty(chance: random.Random, depth: int = 0) -> Any:
    kinds = [
        lambda: chance.choice([0, 1, -1, 4, 8, 2**31, 2**53, 2**62, 2**63, 10**30, 10**3999]),
        lambda: chance.choice([None, True, 1.5, float("inf"), float("nan"), 1e300]),
        lambda: chance.choice(
            ["", "a", "F32", "F16", "I64", "BOOL", "x" * 3000, "\ud800", "\x1b["]
        ),
    ]
    if depth < 4:
        kinds += [
            lambda: [_nasty(chance, depth + 1) for _ in range(chance.choice((0, 1, 2, 3, 50)))],
            lambda: {str(_nasty(chance, 4))[:40]: _nasty(chance, depth + 1) for _ in range(3)},
        ]
    return chance.choice(kinds)()


def _changed(header: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Replace one to three values or keys anywhere in a header."""
    header = json.loads(json.dumps(header))
    for _ in range(chance.randint(1, 3)):
        table: Any = header
        while True:
            keys = list(table) if isinstance(table, dict) else list(range(len(table)))
            if not keys:
                break
            key = chance.choice(keys)
            if isinstance(table[key], (dict, list)) and table[key] and chance.random() < 0.8:
                table = table[key]
                continue
            if isinstance(table, dict) and chance.random() < 0.3:
                table[str(_nasty(chance, 4))[:4000]] = table.pop(key)
            else:
                table[key] = _nasty(chance)
            break
    return header


def _mutations(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    path, chance = folder / "x.safetensors", random.Random(seed)
    names = [f"lora_unet_{layer}.{part}" for layer in range(3) for part in
             ("lora_up.weight", "lora_down.weight", "alpha")]  # fmt: skip
    header = {name: _entry(4 * place) for place, name in enumerate(names)}
    metadata = {"ss_network_args": "{}", "ss_tag_frequency": '{"a": {"b": 1}}', "lora_alpha": "1"}

    def attempts() -> Iterator[tuple[str, Callable[[], object]]]:
        for turn in range(number):
            _write(path, json.dumps(_changed({"__metadata__": metadata, **header}, chance)))
            reader = READERS[turn % len(READERS)]
            yield f"header {turn}, {reader.__name__}", partial(reader, path)

    yield from read_or_refused(attempts())


KINDS = [
    Kind("an adapter's header made by hand to cost much", _by_hand, 8, 1000, needs=NEEDS),
    Kind("an adapter's header, values replaced at random", _mutations, 100, 20_000, needs=NEEDS),
]

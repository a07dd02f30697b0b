"""Reading a damaged file gives an error or tensors, and never a crash, a hang or much memory."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState, load_adapter, parse_adapter, save_adapter

ROOT = Path(__file__).resolve().parents[2]


def a_state(width: int = 24) -> AdapterState:
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in range(6):
        tensors[f"lora_unet_{layer}.lora_up.weight"] = torch.randn(
            width, 4, generator=generator
        ).half()
        tensors[f"lora_unet_{layer}.lora_down.weight"] = torch.randn(
            4, width, generator=generator
        ).bfloat16()
        tensors[f"lora_unet_{layer}.alpha"] = torch.tensor(1.0)
    return AdapterState(tensors, {"ss_output_name": "猫", "ss_steps": "7"})


def flip_bits(content: bytearray, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 6)):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)


def flip_header_bits(content: bytearray, dice: random.Random) -> None:
    (length,) = struct.unpack("<Q", content[:8])
    for _ in range(dice.randint(1, 3)):
        content[dice.randrange(8 + length)] ^= 1 << dice.randrange(8)


def change_length(content: bytearray, dice: random.Random) -> None:
    (length,) = struct.unpack("<Q", content[:8])
    choices = [0, 1, length - 1, length + 1, 2 * length, len(content), 2**31, 2**63, 2**64 - 1]
    content[:8] = struct.pack("<Q", dice.choice([*choices, dice.randrange(2 * len(content))]))


def cut_or_append(content: bytearray, dice: random.Random) -> None:
    if dice.random() < 0.5:
        del content[dice.randrange(len(content)) :]
    else:
        content += dice.randbytes(dice.randint(1, 100))


def move_bytes(content: bytearray, dice: random.Random) -> None:
    start, end, to = (dice.randrange(len(content)) for _ in range(3))
    part = content[start : min(end, start + 64)]
    content[to : to + len(part)] = part


NUMBERS = (-1, 0, 1, 7, 2**31, 2**53, 2**63, 2**64, 10**30, 1.5, True, None, "4", [], [4])


def change_header(content: bytearray, dice: random.Random) -> None:
    """Write a header that is valid JSON and wrong in a shape, offset, dtype or name."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    key = dice.choice(list(header))
    entry = header[key]
    field = dice.choice(["dtype", "shape", "data_offsets", "key", "entry", "more"])
    if field == "key":
        header[dice.choice(["", "x", "a.b", "\ud800", "x" * 5000, "lora_unet_0.alpha"])] = entry
        header.pop(key, None)
    elif field == "entry" or "dtype" not in entry:
        header[key] = dice.choice(NUMBERS)
    elif field == "more":
        header["copy." + key] = entry
    elif field == "dtype":
        entry["dtype"] = dice.choice(["F64", "F32", "I64", "U8", "BOOL", "C64", "F4", 3, None])
    elif entry[field] and dice.random() < 0.7:
        entry[field][dice.randrange(len(entry[field]))] = dice.choice(NUMBERS)
    else:
        entry[field] = dice.choice([*NUMBERS, [0, 0], [8, 0], [0, 2**40], [[0, 8]]])
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    content[: 8 + length] = struct.pack("<Q", len(text)) + text


MUTATIONS = (flip_bits, flip_header_bits, change_length, cut_or_append, move_bytes, change_header)


def mutated(original: bytes, seed: int) -> bytearray:
    dice = random.Random(seed)
    content = bytearray(original)
    dice.choice(MUTATIONS)(content, dice)
    return content


def read_or_refuse(content: bytearray) -> dict[str, Tensor] | None:
    """Return the tensors, or None if the file is refused; any other error fails the test."""
    try:
        return parse_adapter(content, "mutated.safetensors").tensors
    except FormatError:
        return None


def test_ten_thousand_mutations_give_an_error_or_tensors(tmp_path: Path) -> None:
    count = 10_000
    save_adapter(tmp_path / "a", a_state())
    original = (tmp_path / "a").read_bytes()
    outcomes = {True: 0, False: 0}
    for seed in range(count):
        content = mutated(original, seed)
        start = time.monotonic()
        tensors = read_or_refuse(content)
        assert time.monotonic() - start < 5, f"seed {seed} hangs"
        outcomes[tensors is None] += 1
        held = sum(t.numel() * t.element_size() for t in (tensors or {}).values())
        assert held <= len(content), f"seed {seed}"
        for tensor in (tensors or {}).values():
            tensor.double().sum()  # reading every number touches nothing outside
    assert min(outcomes.values()) > count / 20, outcomes  # both things really happen


def test_a_flipped_bit_changes_at_most_one_tensor(tmp_path: Path) -> None:
    """The bit lies in the data section, where it changes one number."""
    save_adapter(tmp_path / "a", a_state())
    original = (tmp_path / "a").read_bytes()
    wanted = load_adapter(tmp_path / "a").tensors
    (length,) = struct.unpack("<Q", original[:8])
    for seed in range(200):
        dice = random.Random(seed)
        content = bytearray(original)
        content[8 + length + dice.randrange(len(content) - 8 - length)] ^= 1 << dice.randrange(8)
        found = read_or_refuse(content)
        if found is not None:
            differ = [key for key in wanted if not torch.equal(wanted[key], found[key])]
            assert len(differ) <= 1  # 0.0 and -0.0 are equal


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss in kB is Linux's")
def test_reading_a_file_takes_memory_below_twice_its_size(tmp_path: Path) -> None:
    path = tmp_path / "big.safetensors"
    save_adapter(path, a_state(width=400_000))  # 38 MB
    code = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
from test_mutations import memory_of_reading
print(memory_of_reading({str(path)!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert float(done.stdout) < 2.0


def memory_of_reading(path: str) -> float:
    """Return the peak memory of reading a file and damaged copies of it, in sizes of the file."""
    import resource  # not on Windows

    small = Path(path).with_suffix(".small")
    save_adapter(small, a_state())
    load_adapter(small)  # whatever the first call loads is not the file's
    size = Path(path).stat().st_size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    load_adapter(path)
    for seed in range(12):
        with open(path, "r+b") as file:
            head = bytearray(file.read(4096))
            MUTATIONS[(1, 2, 4)[seed % 3]](damaged := bytearray(head), random.Random(seed))
            file.seek(0)
            file.write(damaged[:4096])
        with suppress(FormatError):
            load_adapter(path)
        with open(path, "r+b") as file:
            file.write(head)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / size

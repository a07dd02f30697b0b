"""Files of torch.save that do harm, or try to, and random mutations of real ones."""

from __future__ import annotations

import io
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch

from lycoris_ext.formats import load_adapter
from lycoris_ext.formats.torch_file import load_torch_file
from lycoris_ext.formats.weights import load_weights
from tests.faults.bounded import NEEDS, read_or_refused
from tests.faults.hostile_pickles import hostile_pickles, sides, with_tensor
from tests.faults.trials import Kind, Trial

READERS = (load_torch_file, load_weights, load_adapter)
_OPCODES = [
    value[0] for name, value in vars(pickle).items() if name.isupper() and type(value) is bytes
]
_RAN = Path("ran")
"""What the pickles make if their code is run."""
_WORST = (
    "the number 2^28 in the memo by b'r'",
    "a key of tuples nested 3,000,000 deep",
    "millions of dictionaries",
    "integers that collide",
    "a tensor of (1048576, 1048576) with steps (0, 0)",
)
"""What once took gigabytes or minutes, or ended the process; these are always tried."""
_SLOW_TO_WRITE = ("a byte order of 300 MB", "a pickle of 300 MB", "numbers of 300 MB",
                  "100,000 entries")  # fmt: skip


def write(path: Path, entries: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def _entries(program: bytes) -> dict[str, bytes]:
    return {"m/data.pkl": program, "m/byteorder": b"little", "m/data/0": b"\0" * 16}


def _archives() -> dict[str, Callable[[Path], object]]:
    """Return what writes archives that lie about their content, or are long for no reason."""
    plain = _entries(with_tensor(sides(4), sides(1)))

    def bomb(name: str, path: Path) -> None:
        write(path, {key: content for key, content in plain.items() if key != name})
        packed = zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED)
        with packed as archive, archive.open(name, "w") as entry:
            for _ in range(300):
                entry.write(b"\0" * 1_000_000)

    def crowd(path: Path) -> None:
        write(path, plain | {str(number): b"" for number in range(100_000)})

    def lie(offset: int, lie: bytes, path: Path) -> None:
        """Change the last entry of the list of contents, or with -22 and more the archive's end."""
        write(path, plain)
        content = bytearray(path.read_bytes())
        at = offset if offset < 0 else content.rindex(b"PK\1\2") + offset
        content[at : at + len(lie)] = lie
        path.write_bytes(content)

    def twice(path: Path) -> None:
        write(path, plain | {"m/data/1": b"x" * 1000})
        path.write_bytes(path.read_bytes().replace(b"m/data/1", b"m/data/0"))

    return {
        "a byte order of 300 MB": partial(bomb, "m/byteorder"),
        "a pickle of 300 MB": partial(bomb, "m/data.pkl"),
        "numbers of 300 MB": partial(bomb, "m/data/0"),
        "a compressed file": lambda path: write(path, plain, zipfile.ZIP_DEFLATED),
        "100,000 entries": crowd,
        "two entries of one name": twice,
        **{f"an entry that lies about its {what}": partial(lie, offset, b"\xf0\xff\xff\x7f")
           for offset, what in ((20, "compressed size"), (24, "size"), (42, "place"))},
        **{f"an end of the archive with -1 at {offset}": partial(lie, offset - 22, b"\xff\xff")
           for offset in (8, 10, 12, 16)},
    }  # fmt: skip


def _by_hand(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    path = folder / "m.ckpt"
    made = _archives()
    for programs in hostile_pickles().values():
        made |= {name: partial(_write_program, program) for name, program in programs.items()}
    tried = [(name, reader) for name in made for reader in READERS]
    first = [(name, READERS[place % 3]) for place, name in enumerate(_WORST)]
    others = [one for one in tried if one not in first]
    random.Random(seed).shuffle(others)
    others.sort(key=lambda one: one[0] in _SLOW_TO_WRITE)

    def attempts() -> Iterator[tuple[str, Callable[[], object]]]:
        for name, reader in (first + others)[:number]:
            made[name](path)
            yield f"{name}, {reader.__name__}", partial(_read, reader, path)

    yield from read_or_refused(attempts())


def _write_program(program: bytes, path: Path) -> None:
    write(path, _entries(program))


def _read(reader: Callable[[Path], object], path: Path) -> None:
    try:
        reader(path)
    finally:
        if _RAN.exists():
            _RAN.unlink()
            raise AssertionError("code of the file was run")


def _real_programs() -> list[bytes]:
    """Return the pickles of a state dict, of a training's checkpoint and of an embedding."""
    tensors = OrderedDict(a=torch.ones(2, 3), b=torch.zeros(4).half(), c=torch.ones(2, 3).T)
    kinds = (
        tensors,
        {
            "state_dict": tensors,
            "epoch": 3,
            "callbacks": {OrderedDict: {"best": torch.tensor(1.0)}, ("a", 1): 1.5},
            "rng": random.getstate(),
            "big": 1 << 100,
            "size": torch.Size([1, 2]),
        },
        {"string_to_param": {"*": torch.nn.Parameter(torch.ones(2, 8))}, "name": "猫"},
    )
    programs = []
    for protocol in (2, 3, 4, 5):
        for content in kinds:
            stream = io.BytesIO()
            torch.save(content, stream, pickle_protocol=protocol)
            with zipfile.ZipFile(stream) as archive:
                programs.append(archive.read("archive/data.pkl"))
    return programs


def _mutated(program: bytes, chance: random.Random) -> bytes:
    """Change a pickle in some places: a bit, an opcode, a length, a piece from elsewhere."""
    changed = bytearray(program)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(changed))
        match chance.randrange(6):
            case 0:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                changed[at] = chance.choice(_OPCODES)
            case 2:
                changed[at:at] = bytes([chance.choice(_OPCODES)]) * chance.choice((1, 2, 1000))
            case 3:
                changed[at : at + 4] = chance.choice(
                    (b"\xff" * 4, b"\0\0\0\x10", b"\xff\xff\xff\x7f")
                )
            case 4:
                end = chance.randrange(at, min(len(changed), at + 60))
                to = chance.randrange(len(changed))
                changed[to:to] = changed[at : end + 1]
            case 5 if len(changed) > 20:
                del changed[at : at + chance.randint(1, 10)]
    return bytes(changed) or b"."


def _mutations(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    path = folder / "m.ckpt"
    programs, chance = _real_programs(), random.Random(seed)

    def attempts() -> Iterator[tuple[str, Callable[[], object]]]:
        for turn in range(number):
            write(path, _entries(_mutated(chance.choice(programs), chance)))
            yield f"mutation {turn}", partial(_read, load_torch_file, path)

    yield from read_or_refused(attempts())


def _archive_bytes(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    path = folder / "m.ckpt"
    torch.save({"a": torch.ones(3), "b": torch.zeros(2, 2)}, path)
    whole, chance = path.read_bytes(), random.Random(seed)

    def attempts() -> Iterator[tuple[str, Callable[[], object]]]:
        for turn in range(number):
            changed = bytearray(whole)
            for _ in range(chance.randint(1, 8)):
                at = chance.randrange(len(changed) * 2) % len(changed)
                near_end = len(changed) - 1 - chance.randrange(min(600, len(changed)))
                changed[chance.choice((at, near_end))] = chance.choice((0, 1, 0x7F, 0xFF, 0x50))
            path.write_bytes(changed)
            yield f"archive {turn}", partial(_read, load_torch_file, path)

    yield from read_or_refused(attempts())


KINDS = [
    Kind("a .ckpt made by hand to do harm", _by_hand, 24, 2000, before=(94, 9), needs=NEEDS),
    Kind("a .ckpt, its pickle mutated at random", _mutations, 300, 55_000, (55_407, 0), NEEDS),
    Kind("a .ckpt, bytes of its archive changed", _archive_bytes, 200, 5000, needs=NEEDS),
]

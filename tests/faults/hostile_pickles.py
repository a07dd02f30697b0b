"""Pickles made by hand: each does harm to a reader that believes it, or tries to."""

from __future__ import annotations

import struct

from lycoris_ext.formats.pickled import MAX_OPCODES

_PROTOCOL = b"\x80\x02"
_SYSTEM = b"cos\nsystem\n"
_MANY = MAX_OPCODES + 10


def hostile_pickles() -> dict[str, dict[str, bytes]]:
    """Return name -> pickle, by the kind of harm; some have megabytes."""
    return {
        "memory": _memory(),
        "nesting": _nesting(),
        "time": _time(),
        "views": _views(),
        "code": _code(),
        "damage": _damage(),
    }


def with_tensor(size: bytes, stride: bytes, offset: bytes = b"K\0", count: int = 4) -> bytes:
    """Return a pickle of {"a": tensor}, whose numbers are in data/0, from pickled sizes."""
    return _in_dict(_tensor(size, stride, offset, count))


def sides(*numbers: int) -> bytes:
    """Return opcodes that make a tuple of numbers."""
    return b"(" + b"".join(map(_integer, numbers)) + b"t"


def _text(text: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text


def _integer(number: int) -> bytes:
    raw = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    if len(raw) < 256:
        return b"\x8a" + bytes([len(raw)]) + raw
    return b"\x8b" + struct.pack("<I", len(raw)) + raw


def _tensor(size: bytes, stride: bytes, offset: bytes = b"K\0", count: int = 4) -> bytes:
    storage = b"(" + _text(b"storage") + b"ctorch\nFloatStorage\n" + _text(b"0") + _text(b"cpu")
    storage += b"J" + struct.pack("<i", count) + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + size + stride + b"\x89NtR"


def _in_dict(value: bytes) -> bytes:
    return _PROTOCOL + b"}" + _text(b"a") + value + b"s."


def _dict_of(keys: list[bytes], value: bytes = b"N") -> bytes:
    return _PROTOCOL + b"}(" + b"".join(key + value for key in keys) + b"u."


def _memory() -> dict[str, bytes]:
    opcodes = {
        "dictionaries": b"}", "lists": b"]", "empty tuples": b")", "marks": b"(", "None": b"N",
        "sets": b"\x8f", "floats": b"G" + b"\1" * 8, "texts": b"\x8c\2ab", "bytes": b"C\1a",
        "calls": b"c\n\n)R", "objects": b"cx\ny\n)\x81",
        "ordered": b"ccollections\nOrderedDict\n)R",
        "copies": b"N2", "frames": b"\x95" + b"\0" * 8, "protocols": _PROTOCOL, "builds": b"}Nb",
    }  # fmt: skip
    places = {
        f"the number 2^{bits} in the memo by {code!r}": b"}" + code + struct.pack("<I", 2**bits - 1)
        for code in (b"r", b"j")
        for bits in (24, 28, 30, 31, 32)
    }
    programs = {
        **{f"millions of {name}": code * _MANY for name, code in opcodes.items()},
        **places,
        "millions of puts": b"N" + b"\x94" * _MANY,
        "a text longer than the file": b"X\xff\xff\xff\x7fabc",
        "bytes of 2^62": b"\x8e" + struct.pack("<Q", 2**62),
        "an array of 2^40 bytes": b"\x96" + struct.pack("<Q", 2**40),
        "a frame of 2^63": b"\x95" + struct.pack("<Q", 2**63) + b"}",
        "an integer of 2^31 bytes": b"\x8b\xff\xff\xff\x7f",
        "an integer of -1 bytes": b"\x8b\xff\xff\xff\xff",
        "a text of -1 bytes": b"T\xff\xff\xff\xff",
    }
    return {name: _PROTOCOL + program + b"." for name, program in programs.items()}


def _nesting() -> dict[str, bytes]:
    makers = {"tuples": b"\x85", "pairs": b"N\x86", "triples": b"NN\x87"}
    inner = b"}" + _text(b"a")
    return {
        **{
            f"a key of {name} nested {deep:,} deep": _PROTOCOL + b"})" + code * deep + b"K\1s."
            for name, code in makers.items()
            for deep in (1000, 300_000, 3_000_000)
        },
        **{
            f"lists nested {deep:,} deep": _in_dict(b"]" * deep + b"a" * (deep - 1))
            for deep in (1000, 150_000)
        },
        **{
            f"dictionaries nested {deep:,} deep": _in_dict(inner * deep + b"N" + b"s" * deep)
            for deep in (1000, 150_000)
        },
        "a dictionary that holds itself": _PROTOCOL + b"}q\0" + _text(b"state_dict") + b"h\0s.",
        "a tuple that holds itself": _PROTOCOL + b"]q\0h\0a(h\0t.",
    }


def _time() -> dict[str, bytes]:
    prime = 2**61 - 1  # what Python's hashes of numbers are counted by
    floats = (2.0 ** (61 * (i % 16)) * (1 + i // 16) for i in range(20_000))
    again = b"ctorch\nSize\nh\0\x85R0"
    rebuilt = b"ctorch._utils\n_rebuild_parameter\nh\0R0"
    return {
        "integers that collide": _dict_of([_integer(prime * i) for i in range(1, 20_000)]),
        "floats that collide": _dict_of([b"G" + struct.pack(">d", number) for number in floats]),
        "pairs as keys": _dict_of([_integer(i) + _integer(prime) + b"\x86" for i in range(20_000)]),
        "an integer of 1 MB": _dict_of([_integer(1 << 8_000_000)]),
        "a size of 1 MB": with_tensor(sides(1 << 8_000_000), sides(1)),
        "one list as many sizes": _PROTOCOL
        + b"]("
        + b"N" * 1000
        + b"eq\0"
        + again * 100_000
        + b".",
        "one long list of arguments": _PROTOCOL
        + b"("
        + b"N" * 100_000
        + b"tq\0"
        + rebuilt * 50_000
        + b".",
    }


def _views() -> dict[str, bytes]:
    shapes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
        ((5,), (1,)), ((2, 2), (1,)), ((2**40,), (0,)), ((2**20, 2**20), (0, 0)),
        ((2**62, 4), (0, 0)), ((0, 2**62, 2**61), (1, 1, 1)), ((2**70,), (0,)),
        ((-1,), (1,)), ((2,), (-1,)), ((2,), (2**63,)), ((1,) * 9, (1,) * 9),
        ((1,) * 3000, (1,) * 3000), ((4,), (1,)), ((0,), (1,)), ((), ()),
    )  # fmt: skip
    one = _tensor(sides(4), sides(1))
    names = b"".join(_text(b"%d" % number) + b"h\0" for number in range(100_000))
    return {
        **{
            f"a tensor of {size!s:.40} with steps {steps!s:.40}": with_tensor(
                sides(*size), sides(*steps)
            )
            for size, steps in shapes
        },
        "a tensor of texts": with_tensor(_text(b"a") + b"\x85", sides(1)),
        "a tensor of a list": with_tensor(b"]K\1a", sides(1)),
        "a tensor at -1": with_tensor(sides(1), sides(1), b"J\xff\xff\xff\xff"),
        "a tensor of nested sides": with_tensor(b")" + b"\x85" * 100_000, sides(1)),
        "a tensor of -1 numbers": with_tensor(sides(1), sides(1), count=-1),
        "100,000 names of one tensor": _PROTOCOL + one + b"q\0}(" + names + b"u.",
        "a key of 5 MB": _dict_of([_text(b"x" * 5_000_000)], one),
    }


def _code() -> dict[str, bytes]:
    harm = _text(b"touch ran")
    setter = b"}" + _text(b"__setstate__") + _SYSTEM + b"s"
    programs = {
        "GLOBAL and REDUCE": _SYSTEM + harm + b"\x85R",
        "STACK_GLOBAL": b"\x8c\2os\x8c\6system\x93" + harm + b"\x85R",
        "INST": b"(" + harm + b"ios\nsystem\n",
        "OBJ": b"(" + _SYSTEM + harm + b"o",
        "NEWOBJ": b"csubprocess\nPopen\n" + harm + b"\x85\x81",
        "NEWOBJ_EX": b"csubprocess\nPopen\n" + harm + b"\x85}\x92",
        "BUILD of a class": b"cbuiltins\nobject\n" + setter + b"b" + harm + b"b",
        "BUILD of slots": b"ctorch\nFloatStorage\n(N}" + _text(b"dtype") + b"Nstb",
        "BUILD of a dictionary": b"}}" + _text(b"items") + _SYSTEM + b"sb",
        "BUILD of a tensor": _tensor(sides(4), sides(1)) + b"(K\1K\2K\3K\4tb",
        "extension of one byte": b"\x82\1",
        "extension of two bytes": b"\x83\1\0",
        "extension of four bytes": b"\x84\1\0\0\0",
        "persistent id as text": b"Pstorage\n",
        "functions as persistent id": b"(" + _SYSTEM * 5 + b"tQ",
        "names with dots": b"\x8c\7builtins\x8c\x0deval.__call__\x93" + _text(b"1") + b"\x85R",
        "names of 1 MB": b"c" + b"a" * 1_000_000 + b"\n" + b"b" * 1_000_000 + b"\n)R",
    }
    return {name: _PROTOCOL + program + b"." for name, program in programs.items()}


def _damage() -> dict[str, bytes]:
    one = _tensor(sides(4), sides(1))
    return {
        **{f"{code:#04x} and the end": _PROTOCOL + bytes([code]) for code in range(256)},
        **{f"{code:#04x} on nothing": _PROTOCOL + bytes([code]) + b"." for code in range(256)},
        "protocol 255": b"\x80\xff}.",
        "an odd list of pairs": _PROTOCOL + b"}(" + _text(b"a") + b"u.",
        "half a character": _dict_of([_text(b"\xed\xa0\x80")], one),
        "no text": _dict_of([_text(b"\xff\xfe")]),
    }

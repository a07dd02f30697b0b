"""Reading a pickle as a description of data: no class of it is made, no function of it called.

A pickle is a program for a small machine with a stack. Python's machine imports and calls what the
program names. This one knows the opcodes that torch.save writes, makes numbers, texts, lists,
tuples and dictionaries, and calls what its caller gives it for some names. Everything else that a
program names, or does with what it named, is `INERT`.

Every opcode takes a constant time and about a hundred bytes at most, apart from the texts that it
carries; so the bounds on their number and on the program's length bound the whole reading. Keys of
dictionaries are texts and integers of 64 bits: for others, collisions can be made up by the
thousand, and deep nesting fills the C stack while Python computes their hash.

Source: CPython's Lib/pickletools.py
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final

MAX_BYTES = 64_000_000
"""Of a program. That of Stable Diffusion 1.5 has 0.3 million bytes, with its optimizer 1 million;
there is room for long texts in it."""
MAX_OPCODES = 1 << 20
"""Of a program: 40 for each of 26,000 tensors. SDXL with its optimizer has 7,500."""
_MAX_ARGUMENTS = 16
_MAX_INTEGER = 32  # bytes; random number generators store 17


class _Inert:
    """What a pickle names and is not known here."""

    def __repr__(self) -> str:
        return "an unknown object"


INERT: Final = _Inert()


def read_pickle(
    program: bytes, known: Mapping[tuple[str, str], Any], stored: Callable[[object], object]
) -> object:
    """Return what a pickle describes.

    Args:
        program: the pickle.
        known: (module, name) -> what the name stands for. If it can be called, the pickle may call
            it with any arguments.
        stored: makes an object of a persistent id, which is any object.

    Returns:
        Numbers, texts, bytes, lists, tuples, dictionaries, and what ``known`` and ``stored`` make;
        ``INERT`` for every other object.

    Raises:
        ValueError, LookupError, TypeError: the pickle is damaged, is over a bound, or has an opcode
            that torch.save never writes.
    """
    if len(program) > MAX_BYTES:
        raise ValueError(f"its pickle has {len(program):,} bytes, at most {MAX_BYTES:,} are read")
    machine = _Machine(program, known, stored)
    for _ in range(MAX_OPCODES):
        opcode = machine.byte()
        if opcode == _STOP:
            return machine.stack.pop()
        if opcode not in _OPCODES:
            raise ValueError(
                f"its pickle has the opcode {opcode:#04x}, which torch.save writes not"
            )
        _OPCODES[opcode](machine)
    raise ValueError(f"its pickle has more than {MAX_OPCODES:,} opcodes")


class _Machine:
    """The state of the machine, and what its opcodes do.

    Attributes:
        stack: of objects.
        marks: for each open mark, how many objects were on the stack.
        memo: objects that the program put aside, by its numbers for them.
    """

    def __init__(
        self,
        program: bytes,
        known: Mapping[tuple[str, str], Any],
        stored: Callable[[object], object],
    ) -> None:
        self.program, self.at = program, 0
        self.known, self.stored = known, stored
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def byte(self) -> int:
        at = self.at
        self.at = at + 1
        return self.program[at]

    def take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self.program):
            raise ValueError("its pickle ends too early")
        return self.program[start : self.at]

    def number(self, size: int) -> int:
        """Read an unsigned integer of some bytes."""
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        start, end = self.at, self.program.index(b"\n", self.at)
        self.at = end + 1
        return self.program[start:end].decode("utf-8")

    def marked(self) -> list[Any]:
        """Take what lies above the last mark from the stack."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    # Opcodes

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def pop(self) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def protocol(self) -> None:
        version = self.byte()
        if version > 5:
            raise ValueError(f"its pickle is of protocol {version}, known are 2 to 5")

    def put(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def get(self, number: int) -> None:
        self.stack.append(self.memo[number])

    def integer(self) -> None:
        size = self.byte()
        if size > _MAX_INTEGER:
            raise ValueError(
                f"it holds an integer of {size} bytes, at most {_MAX_INTEGER} are read"
            )
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    def tuple_of(self, length: int) -> None:
        items = tuple(self.stack[-length:])
        if len(items) < length:
            raise ValueError("it makes a tuple of more than there is")
        self.stack[-length:] = [items]

    def append(self) -> None:
        item = self.stack.pop()
        self._extend([item])

    def extend(self) -> None:
        self._extend(self.marked())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def set_items(self) -> None:
        self._update(self.marked())

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is dict:
            pairs = zip(islice(items, 0, None, 2), islice(items, 1, None, 2), strict=True)
            target.update((key, value) for key, value in pairs if _is_key(key))

    def frozen_set(self) -> None:
        self.marked()
        self.stack.append(INERT)

    def named(self) -> None:
        module, name = self.line(), self.line()
        self.stack.append(self.known.get((module, name), INERT))

    def named_by_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not type(name) is type(module) is str:
            raise TypeError("it names an object by what is no text")
        self.stack.append(self.known.get((module, name), INERT))

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not callable(function):
            self.stack.append(INERT)
            return
        if type(arguments) is not tuple or len(arguments) > _MAX_ARGUMENTS:
            raise TypeError("it makes a tensor of what is no list of arguments")
        self.stack.append(function(*arguments))

    def new(self, arguments: int) -> None:
        """Make an object of a class, which is unknown, from this many stacked arguments."""
        for _ in range(arguments + 1):
            self.stack.pop()
        self.stack.append(INERT)

    def build(self) -> None:
        """Set attributes of an object, which is unknown or a dictionary and has none here."""
        self.stack.pop()
        if type(self.stack[-1]) not in (dict, _Inert):
            raise TypeError(f"it sets attributes of a {type(self.stack[-1]).__name__}")

    def persistent(self) -> None:
        self.stack.append(self.stored(self.stack.pop()))


def _is_key(key: object) -> bool:
    return type(key) is str or (type(key) is int and -(1 << 63) <= key < 1 << 63)


def _push(make: Callable[[_Machine], object]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(make(machine))


def _text(size: int) -> Callable[[_Machine], None]:
    return _push(lambda m: m.take(m.number(size)).decode("utf-8", "surrogatepass"))


def _bytes(size: int) -> Callable[[_Machine], None]:
    return _push(lambda machine: machine.take(machine.number(size)))


def _int(number: int) -> Callable[[_Machine], None]:
    return _push(lambda machine: machine.number(number))


_STOP = pickle.STOP[0]
_OPCODES: dict[int, Callable[[_Machine], object]] = {
    code[0]: action
    for code, action in {
        pickle.PROTO: _Machine.protocol,
        pickle.FRAME: lambda machine: machine.take(8),
        pickle.MARK: _Machine.mark,
        pickle.POP: _Machine.pop,
        pickle.POP_MARK: _Machine.marked,
        pickle.NONE: _push(lambda _: None),
        pickle.NEWTRUE: _push(lambda _: True),
        pickle.NEWFALSE: _push(lambda _: False),
        pickle.BININT: _push(lambda m: int.from_bytes(m.take(4), "little", signed=True)),
        pickle.BININT1: _int(1),
        pickle.BININT2: _int(2),
        pickle.LONG1: _Machine.integer,
        pickle.BINFLOAT: _push(lambda m: struct.unpack(">d", m.take(8))[0]),
        pickle.SHORT_BINUNICODE: _text(1),
        pickle.BINUNICODE: _text(4),
        pickle.BINUNICODE8: _text(8),
        pickle.SHORT_BINSTRING: _text(1),  # of Python 2
        pickle.BINSTRING: _text(4),
        pickle.SHORT_BINBYTES: _bytes(1),
        pickle.BINBYTES: _bytes(4),
        pickle.BINBYTES8: _bytes(8),
        pickle.BYTEARRAY8: _bytes(8),
        pickle.EMPTY_TUPLE: _push(lambda _: ()),
        pickle.TUPLE1: lambda machine: machine.tuple_of(1),
        pickle.TUPLE2: lambda machine: machine.tuple_of(2),
        pickle.TUPLE3: lambda machine: machine.tuple_of(3),
        pickle.TUPLE: _push(lambda machine: tuple(machine.marked())),
        pickle.EMPTY_LIST: _push(lambda _: []),
        pickle.APPEND: _Machine.append,
        pickle.APPENDS: _Machine.extend,
        pickle.EMPTY_DICT: _push(lambda _: {}),
        pickle.SETITEM: _Machine.set_item,
        pickle.SETITEMS: _Machine.set_items,
        pickle.EMPTY_SET: _push(lambda _: INERT),
        pickle.ADDITEMS: _Machine.marked,
        pickle.FROZENSET: _Machine.frozen_set,
        pickle.BINPUT: lambda machine: machine.put(machine.byte()),
        pickle.LONG_BINPUT: lambda machine: machine.put(machine.number(4)),
        pickle.MEMOIZE: lambda machine: machine.put(len(machine.memo)),
        pickle.BINGET: lambda machine: machine.get(machine.byte()),
        pickle.LONG_BINGET: lambda machine: machine.get(machine.number(4)),
        pickle.GLOBAL: _Machine.named,
        pickle.STACK_GLOBAL: _Machine.named_by_stack,
        pickle.REDUCE: _Machine.call,
        pickle.NEWOBJ: lambda machine: machine.new(1),
        pickle.NEWOBJ_EX: lambda machine: machine.new(2),
        pickle.BUILD: _Machine.build,
        pickle.BINPERSID: _Machine.persistent,
    }.items()
}
"""Opcode -> what it does: all that pickles of the protocols 2 to 5 hold, but extensions' codes,
integers of more than 255 bytes and buffers outside of the pickle."""

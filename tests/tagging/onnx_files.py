"""Write small ONNX models, byte by byte: the package onnx is not needed.

The numbers of the fields are those of onnx.proto (https://github.com/onnx/onnx).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

FLOAT = 1
_OPSET, _IR = 13, 8


def varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def whole(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def part(field: int, content: bytes | str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(whole(1, size) for size in values.shape)
    raw = values.astype("<f4").tobytes()
    return dims + whole(2, FLOAT) + part(8, name) + part(9, raw)


def value(name: str, shape: Sequence[int | str], kind: int = FLOAT) -> bytes:
    sizes = [whole(1, one) if isinstance(one, int) else part(2, one) for one in shape]
    dims = b"".join(part(1, one) for one in sizes)
    return part(1, name) + part(2, part(1, whole(1, kind) + part(2, dims)))


def node(kind: str, inputs: Sequence[str], output: str, *attributes: bytes) -> bytes:
    given = b"".join(part(1, name) for name in inputs)
    return given + part(2, output) + part(4, kind) + b"".join(part(5, one) for one in attributes)


def integers(name: str, numbers: Sequence[int]) -> bytes:
    listed = b"".join(whole(8, number) for number in numbers)
    return part(1, name) + listed + whole(20, 7)


def integer(name: str, number: int) -> bytes:
    return part(1, name) + whole(3, number) + whole(20, 2)


def model(graph: bytes) -> bytes:
    return whole(1, _IR) + part(7, graph) + part(8, whole(2, _OPSET))


def mean_tagger(
    weights: np.ndarray,
    bias: np.ndarray,
    *,
    size: int = 16,
    batch: int | str = "batch",
    channels_first: bool = False,
    sigmoid: bool = True,
    kind: int = FLOAT,
) -> bytes:
    """Return a tagger that looks at the mean colour: confidences = sigmoid(mean @ weights + bias).

    Args:
        weights: [3, outputs].
        bias: [outputs].
        size: height and width of its input.
        batch: its number of pictures, or the name of any number.
        channels_first: whether the input is [batch, 3, size, size].
        sigmoid: whether it ends with one.
        kind: of the numbers that it declares for its input.
    """
    shape = [batch, 3, size, size] if channels_first else [batch, size, size, 3]
    axes = integers("axes", [2, 3] if channels_first else [1, 2])
    last = "sums" if sigmoid else "tags"
    nodes = [
        node("ReduceMean", ["pictures"], "mean", axes, integer("keepdims", 0)),
        node("MatMul", ["mean", "weights"], "product"),
        node("Add", ["product", "bias"], last if not sigmoid else "sums"),
        *([node("Sigmoid", ["sums"], "tags")] if sigmoid else []),
    ]
    graph = b"".join(part(1, one) for one in nodes) + part(2, "tagger")
    graph += part(5, tensor("weights", weights)) + part(5, tensor("bias", bias))
    graph += part(11, value("pictures", shape, kind))
    graph += part(12, value("tags", [batch, weights.shape[1]]))
    return model(graph)


ROWS = (
    ("general", 9),
    ("sensitive", 9),
    ("questionable", 9),
    ("explicit", 9),
    ("red_theme", 0),
    ("green_theme", 0),
    ("blue_theme", 0),
    ("^_^", 0),
    ("miku_(vocaloid)", 4),
    ("saber_(dress)_(fate)", 4),
)
"""Tags and categories of the tagger that ``write_tagger`` writes."""


def write_tagger(folder: Path, **more: object) -> Path:
    """Write a tagger of red, green and blue pictures into a folder, and return the folder.

    A colour above one half of its range is its theme; green ones show miku, and blue ones saber.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blue, green, red = np.eye(3) * 8 / 255
    none = np.zeros(3)
    columns = [red, green, blue, none, red, green, blue, none, green, blue]
    bias = [-4.0, -4.0, -4.0, -6.0, -4.0, -4.0, -4.0, -1.0, -4.0, -4.0]
    weights = np.stack(columns, axis=1)
    (folder / "model.onnx").write_bytes(mean_tagger(weights, np.array(bias), **more))  # type: ignore[arg-type]
    lines = ["tag_id,name,category,count"]
    lines += [f"{number},{tag},{category},1" for number, (tag, category) in enumerate(ROWS)]
    (folder / "selected_tags.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder

"""Load an ONNX tagger from a local folder, and run it on prepared pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lycoris_ext.errors import DataError, EnvironmentFault, FormatError, MemoryFault
from lycoris_ext.files import cannot_read, open_file
from lycoris_ext.formats.strangers import LOOK, start_of
from lycoris_ext.tagging.labels import Labels, read_labels
from lycoris_ext.words import and_more, count, short

MODELS = ("model.onnx", "model_optimized.onnx")
USUAL_SIZE = 448
SIZES = range(16, 2049)
MOST_PICTURES = 1024
"""The largest batch that a model may insist on."""
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_ACCELERATORS = (
    "CUDAExecutionProvider",
    "ROCMExecutionProvider",
    "MIGraphXExecutionProvider",
    "DmlExecutionProvider",
)
"""What onnxruntime computes with where its build offers it, the first of these; else the CPU."""
_QUIET = 3  # only errors are logged
_FIX = "download the model again, into a folder of its own"


class OnnxTagger:
    """A tagger in a folder: ``model.onnx`` with ``selected_tags.csv`` or ``tag_mapping.json``.

    Two kinds of inputs are in use: [pictures, size, size, 3] with values from 0 to 255, and
    [pictures, 3, size, size] with values from -1 to 1; both have blue first.

    Args:
        folder: of the tagger.

    Attributes:
        labels: what the outputs mean.
        size: height and width of the input.
        batch: the number of pictures that the model must get at once; None: any.
        provider: what computes, such as "CPU" or "CUDA".
        digest: hash of the model's file and of the weights beside it.

    Raises:
        DataError: a file is missing or cannot be read.
        FormatError: the model is damaged, or is no tagger with these labels.
        EnvironmentFault: onnxruntime is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.file = _find_model(folder)
        self.labels: Labels = read_labels(folder)
        runtime = _runtime()
        self.digest = _digest(self.file)
        self._session = _open(runtime, self.file)
        self._errors = _errors(runtime)
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise self._unfit(f"has {len(inputs)} inputs, and a tagger has 1")
        self._name = inputs[0].name
        if inputs[0].type not in _TYPES:
            raise self._unfit(f"takes {inputs[0].type}, and a tagger takes tensor(float)")
        self._type = _TYPES[inputs[0].type]
        self.batch, self.size, self._channels_first = self._read_shape(inputs[0].shape)
        self.provider = str(self._session.get_providers()[0]).removesuffix("ExecutionProvider")
        # What can fail with the first picture fails here.
        self.scores(np.full((1, self.size, self.size, 3), 255, dtype=np.float32))

    def scores(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the confidence of every output.

        Args:
            pictures: [B, size, size, 3] as ``prepared`` returns them, B being at most ``batch``.

        Returns:
            [B, outputs], from 0 to 1.

        Raises:
            FormatError: the outputs do not fit the labels.
            DataError: an output is NaN.
            MemoryFault: there is too little memory.
        """
        given = pictures
        if self.batch is not None and len(given) < self.batch:
            rest = np.zeros((self.batch - len(given), *given.shape[1:]), dtype=np.float32)
            given = np.concatenate([given, rest])
        if self._channels_first:
            given = given.transpose(0, 3, 1, 2) / np.float32(127.5) - np.float32(1.0)
        given = np.ascontiguousarray(given, dtype=self._type)
        with self._told("cannot be run"):
            answer = self._session.run(None, {self._name: given})[0]
        values = np.asarray(answer, dtype=np.float32)
        if values.ndim != 2 or len(values) != len(given):
            raise self._unfit(f"answers {list(values.shape)} to {count(len(given), 'picture')}")
        self._check_number(values.shape[1])
        values = values[: len(pictures)]
        if np.isnan(values).any():
            raise DataError(
                "answers NaN", where=str(self.file), fix="use another tagger, or run it on the CPU"
            )
        return self._as_confidence(values)

    def _as_confidence(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the sigmoid where the model does not end with it.

        Models with a JSON never do, as in sd-scripts. Of the others those do not that answer
        numbers which can be no confidence.
        """
        logits = self.labels.by_confidence or values.min() < -1e-3 or values.max() > 1 + 1e-3
        if not logits:
            return values
        return np.asarray(1 / (1 + np.exp(-np.clip(values, -80, 80))), dtype=np.float32)

    def _check_number(self, outputs: int) -> None:
        wanted = self.labels.outputs
        if outputs < wanted or (self.labels.exact and outputs != wanted):
            raise FormatError(
                f"the model has {count(outputs, 'output')}, and {self.labels.file.name} has "
                f"{count(wanted, 'tag')}",
                where=str(self.file),
                fix="take model and list of tags from the same download",
            )

    def _read_shape(self, shape: Sequence[Any]) -> tuple[int | None, int, bool]:
        """Return batch, size, and whether colours come before rows, from the shape of the input."""
        known = [one if isinstance(one, int) and one > 0 else None for one in shape]
        if len(known) == 4 and 3 in (known[1], known[3]):
            first = known[3] != 3
            sides = {one for one in (known[2:] if first else known[1:3]) if one is not None}
            size = sides.pop() if sides else USUAL_SIZE
            if not sides and size in SIZES and (known[0] or 1) <= MOST_PICTURES:
                return known[0], size, first
        raise self._unfit(
            f"takes {list(shape)}, and a tagger takes [pictures, size, size, 3] or "
            "[pictures, 3, size, size] with one size"
        )

    def _unfit(self, what: str) -> FormatError:
        return FormatError(
            what, where=str(self.file), fix="use a tagger of the kind of wd-vit-tagger-v3"
        )

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        with _in_words(self._errors, self.file, what):
            yield


def _find_model(folder: Path) -> Path:
    """Return the model's file: one of ``MODELS``, or the only .onnx in the folder."""
    if folder.is_file():
        raise DataError(
            "is a file, not a folder",
            where=str(folder),
            fix=f"name the folder that holds {MODELS[0]} and its list of tags",
        )
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".onnx")
    except OSError as error:
        raise cannot_read(folder, error, what="the folder ") from error
    usual = [path for path in found if path.name in MODELS]
    if len(found) == 1 or usual:
        return usual[0] if usual else found[0]
    there = f"; there are {and_more(path.name for path in found)}" if found else ""
    raise DataError(
        f"holds no {MODELS[0]}{there}",
        where=str(folder),
        fix=f"download the tagger's {MODELS[0]} and selected_tags.csv into it",
    )


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentFault(
            f"onnxruntime cannot be imported ({error})",
            where="--tagger",
            fix='pip install "lycoris-ext[data]" (or: pip install onnxruntime)',
        ) from error
    # On Windows Microsoft's builds would report how they are used.
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _open(runtime: Any, file: Path) -> Any:
    """Load the model.

    Raises:
        FormatError: it is damaged, or another kind of file.
    """
    with open_file(file) as stream:
        kind = start_of(stream.read(LOOK), file.stat().st_size)
    if kind is not None:
        raise FormatError(
            f"is no ONNX model: this is {kind.name}", where=str(file), fix=kind.mend or _FIX
        )
    options = runtime.SessionOptions()
    options.log_severity_level = _QUIET
    offered = runtime.get_available_providers()
    chosen = [name for name in _ACCELERATORS if name in offered][:1]
    with _in_words(_errors(runtime), file, "is no ONNX model that can be loaded"):
        return runtime.InferenceSession(
            str(file), options, providers=[*chosen, "CPUExecutionProvider"]
        )


def _errors(runtime: Any) -> tuple[type[Exception], ...]:
    """Return the classes of onnxruntime's errors, which have no common one of their own."""
    inside = runtime.capi.onnxruntime_pybind11_state
    found = [one for one in vars(inside).values() if isinstance(one, type)]
    return (
        *(one for one in found if issubclass(one, Exception)),
        RuntimeError,
        ValueError,
        UnicodeDecodeError,
    )


@contextmanager
def _in_words(errors: tuple[type[Exception], ...], file: Path, what: str) -> Iterator[None]:
    """Turn what onnxruntime raises in a ``with`` block into an error of this package."""
    try:
        yield
    except errors as error:
        told = short(str(error).rpartition("ErrorMessage:")[2] or str(error), 200)
        if "allocate memory" in str(error) or "out of memory" in str(error).lower():
            raise MemoryFault(
                f"the tagger finds too little memory ({told})",
                where=str(file),
                fix="use a smaller --batch_size",
            ) from error
        raise FormatError(f"{what} ({told})", where=str(file), fix=_FIX) from error


def _digest(file: Path) -> str:
    """Hash the model, and the files beside it whose names begin with its name: its weights."""
    digest = hashlib.blake2b(digest_size=20)
    for path in sorted(file.parent.glob(f"{escape(file.name)}*")):
        try:
            with open_file(path) as stream:
                digest.update(f"{path.name}\n".encode())
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise cannot_read(path, error) from error
    return digest.hexdigest()

"""The errors that this package raises for what a user can mend.

Each says what is wrong, where, and how to mend it. Its class decides the exit code of the command
line (cli/exit_codes.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType

from lycoris_ext.printable import on_one_line, printable


class LycorisExtError(Exception):
    """Base class of all errors that the user can mend, as opposed to bugs in this package.

    Their texts are ``printable``: names from files of unknown origin can do nothing to a terminal.

    Args:
        what: what is wrong; if two things disagree, with both values.
        where: the file, key, layer or option that it concerns.
        fix: what the user should do, as an imperative sentence.

    Attributes:
        parts: the single errors that ``together`` made this one of; otherwise only this error.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = printable(what)
        # A place is a single line; what is wrong may be a list of our own.
        self.where = None if where is None else on_one_line(where)
        self.fix = None if fix is None else printable(fix)
        self.parts: tuple[LycorisExtError, ...] = (self,)
        super().__init__(self.what, self.where, self.fix)

    def __str__(self) -> str:
        said = self.where is None or self.what.startswith(f"{self.where} ")
        text = self.what if said else f"{self.where}: {self.what}"
        return f"{text}\n  -> {self.fix}" if self.fix else text

    def within(self, place: str) -> LycorisExtError:
        """Return a new error like this one, whose ``where`` is "place, where".

        If ``together`` made this error of several, each of them gets the place.

        Args:
            place: the file or section in which the error was found.
        """
        return together(
            [
                type(part)(
                    part.what,
                    where=f"{place}, {part.where}" if part.where else place,
                    fix=part.fix,
                )
                for part in self.parts
            ]
        )


class ConfigError(LycorisExtError):
    """An option is unknown, out of range, or contradicts another one."""


class ShapeError(ConfigError):
    """Shapes of tensors or layers do not go together."""


class DataError(LycorisExtError):
    """Pictures, captions or folders are missing, damaged or ambiguous."""


class FormatError(DataError):
    """A file is damaged, malicious, of another format, or holds keys of unknown layers."""


class EnvironmentFault(LycorisExtError):
    """A package, a device or disk space is missing."""


class MemoryFault(LycorisExtError):
    """The memory of the GPU or of the machine is used up."""


class DivergedError(LycorisExtError):
    """The loss, the weights or a picture became NaN or infinite."""


class RunInterrupted(LycorisExtError):
    """The user stopped a run; its state is saved."""


def together(errors: Sequence[LycorisExtError]) -> LycorisExtError:
    """Make one error of several, so that the user sees all that is wrong at once.

    Args:
        errors: at least one.

    Returns:
        An error of the first one's class whose text lists them all with numbers, each text once;
        if there is only one error, that error itself.
    """
    parts = list({str(part): part for error in errors for part in error.parts}.values())
    if len(parts) == 1:
        return parts[0]
    listed = (str(part).replace("\n", "\n   ") for part in parts)
    lines = "\n".join(f"{number}. {text}" for number, text in enumerate(listed, start=1))
    error = type(parts[0])(f"{len(parts)} things are wrong:\n{lines}")
    error.parts = tuple(parts)
    return error


class Faults:
    """Collects errors in `with` blocks, so that all of them are raised at once.

    faults = Faults()
    for name, value in values.items():
        with faults:
            check(name, value)
    faults.raise_all()
    """

    def __init__(self, found: Iterable[LycorisExtError] = ()) -> None:
        self.found = list(found)

    def __enter__(self) -> Faults:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Collect a LycorisExtError; let any other exception pass."""
        if not isinstance(error, LycorisExtError):
            return False
        self.found.append(error)
        return True

    def raise_all(self) -> None:
        """Raise the collected errors as one; do nothing if there are none."""
        if self.found:
            raise together(self.found)

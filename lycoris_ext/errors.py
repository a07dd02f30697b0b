"""What can go wrong, said so that the reader can mend it.

Every error names what was wrong, where, and how to mend it; its class decides the exit code of the
command line (cli/exit_codes.py).
"""

from __future__ import annotations

from collections.abc import Sequence


class LycorisExtError(Exception):
    """Base of every error that is the user's to mend (as opposed to a bug of ours).

    Args:
        what: what was found, with both values where two things disagree.
        where: file, key, layer or option concerned.
        fix: what to do about it, as an imperative sentence.

    Attributes:
        parts: the errors that this one is made of (``together``); itself where it is one.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        self.parts: tuple[LycorisExtError, ...] = (self,)
        super().__init__(what, where, fix)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  -> {self.fix}" if self.fix else text


class ConfigError(LycorisExtError):
    """An option is unknown, out of range, or contradicts another one."""


class ShapeError(ConfigError):
    """Shapes of tensors or layers do not go together."""


class DataError(LycorisExtError):
    """Pictures, captions or folders are missing, damaged or ambiguous."""


class FormatError(DataError):
    """A file is not what it claims to be: damaged, hostile, or with keys that cannot be placed."""


class EnvironmentFault(LycorisExtError):
    """A package, a device or disk space is missing."""


class MemoryFault(LycorisExtError):
    """The memory of the GPU or of the machine is used up."""


class DivergedError(LycorisExtError):
    """The loss became NaN or infinite."""


class RunInterrupted(LycorisExtError):
    """The user stopped a run; its state is saved."""


def together(errors: Sequence[LycorisExtError]) -> LycorisExtError:
    """One error that says all of these, so that nobody mends them one by one.

    Args:
        errors: at least one; the first decides on the class.

    Returns:
        The error itself where there is one alone; otherwise its text numbers them.
    """
    parts = [part for error in errors for part in error.parts]
    if len(parts) == 1:
        return parts[0]
    listed = (str(part).replace("\n", "\n   ") for part in parts)
    lines = "\n".join(f"{number}. {text}" for number, text in enumerate(listed, start=1))
    error = type(parts[0])(f"{len(parts)} things are wrong:\n{lines}")
    error.parts = tuple(parts)
    return error

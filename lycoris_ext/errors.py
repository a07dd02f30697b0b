"""What can go wrong, said so that the reader can mend it.

Every error names what was wrong, where, and how to mend it; its class decides the exit code of the
command line (cli/exit_codes.py).
"""

from __future__ import annotations


class LycorisExtError(Exception):
    """Base of every error that is the user's to mend (as opposed to a bug of ours).

    Args:
        what: what was found, with both values where two things disagree.
        where: file, key, layer or option concerned.
        fix: what to do about it, as an imperative sentence.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
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

"""The exit codes of the command line and their meanings, which docs/training.md shows too."""

from __future__ import annotations

from lycoris_ext.errors import (
    ConfigError,
    DataError,
    DivergedError,
    EnvironmentFault,
    LycorisExtError,
    MemoryFault,
    RunInterrupted,
)

DONE = 0
INTERRUPTED = 130

EXIT_CODES: dict[int, tuple[type[LycorisExtError] | None, str]] = {
    DONE: (None, "done"),
    2: (ConfigError, "usage: an option is unknown, out of range, or contradicts another one"),
    3: (DataError, "data: pictures, captions, models or adapters are missing or damaged"),
    4: (EnvironmentFault, "environment: a package, a device, disk space or a lock is missing"),
    5: (MemoryFault, "memory: the GPU's or the machine's is used up"),
    6: (DivergedError, "the loss, the weights or a picture became NaN or infinite"),
    INTERRUPTED: (
        RunInterrupted,
        "stopped by Ctrl-C or a signal; state and adapter of a run are saved",
    ),
}
"""Exit code -> (class of the errors that end with it, meaning)."""


def exit_code(error: LycorisExtError) -> int:
    """Return an error's exit code; 1, the code of a crash, if the table does not list its class."""
    for code, (kind, _) in EXIT_CODES.items():
        if kind is not None and isinstance(error, kind):
            return code
    return 1

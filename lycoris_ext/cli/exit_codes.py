"""What the command line's exit codes mean: one table, which docs/training.md shows."""

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
    6: (DivergedError, "the loss or the weights became NaN or infinite"),
    INTERRUPTED: (
        RunInterrupted,
        "stopped by Ctrl-C or a signal; state and adapter of a run are saved",
    ),
}
"""Exit code -> the errors that end with it, and what it means."""


def exit_code(error: LycorisExtError) -> int:
    """The exit code of an error; 1, as for a mistake of ours, where the table has none."""
    for code, (kind, _) in EXIT_CODES.items():
        if kind is not None and isinstance(error, kind):
            return code
    return 1

"""Memory of the process: faster allocation on Linux, and advice when memory runs out.

glibc gives each large block back to the system when it is freed and asks for it again for the next
tensor. The system must fill these pages with zeros each time, which took more than half of all
processor time in a training step on a CPU (270,000 page faults a second, measured).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lycoris_ext.errors import MemoryFault
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.optimizer_kinds import optimizer_kinds

# Numbers of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory in the process; call it before the first tensor is made.

    Returns:
        False if the C library is not glibc; then nothing was changed, and nothing needs to be.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # Never use mmap: its threshold cannot be raised above 32 MB, and a convolution of SD1.5 needs
    # buffers of two and four times that (measured: 57,600 page faults a step).
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    library.mallopt(_TOP_PAD, 64 * 2**20)
    # One arena: memory freed by one thread serves the others.
    library.mallopt(_ARENA_MAX, 1)
    return True


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that memory is used up.

    torch has a class for this on a GPU; on a CPU it raises a RuntimeError with a certain text.
    """
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "not enough memory" in text
        or "can't allocate memory" in text
    )


@contextmanager
def memory_faults(config: TrainConfig) -> Iterator[None]:
    """Turn an out-of-memory error inside a ``with`` into one that names options which need less.

    Raises:
        MemoryFault: memory is used up.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryFault(
            f"out of memory {str(error).partition(chr(10))[0]}",
            where=config.run.output_name,
            fix=f"{_advice(config)}; what was saved before is unharmed",
        ) from error


def _advice(config: TrainConfig) -> str:
    """Return advice which of a run's options to change to need less memory."""
    data, run, optimizer = config.data, config.run, config.optimizer.kind
    smaller = [  # the same steps in less memory: an optimizer with the same options
        f'"{kind.name}"'
        for kind in optimizer_kinds()
        if kind.arguments
        and kind.arguments == optimizer.arguments
        and kind.state_bytes < optimizer.state_bytes
    ][:1]
    advice = [
        (not run.gradient_checkpointing, "gradient_checkpointing = true"),
        (data.train_batch_size > 1, f"train_batch_size below {data.train_batch_size}"),
        (
            run.mixed_precision == "no" and run.device != "cpu",
            'mixed_precision = "bf16" on a GPU',
        ),
        (bool(smaller), "optimizer_type = " + " or ".join(smaller)),
        (True, f"resolution below {data.resolution}" if data.resolution else "a lower resolution"),
        (True, f"network_dim below {config.network.network_dim}"),
    ]
    return "try, in this order: " + "; ".join(text for useful, text in advice if useful)

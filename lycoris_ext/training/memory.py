"""Memory: what is freed stays in the process, and what to do when there is none left.

glibc returns each large block at once and fetches it again for the next tensor; clearing those
pages anew took more than half of all processor time in a training step on CPU (270,000 page faults
a second, measured).
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
    """Tell glibc to keep what is freed; call it before the first tensor.

    Returns:
        False where the C library is not glibc, which has no such switch and needs none.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # No mappings at all: the threshold for them ends at 32 MB, and what a convolution of SD1.5
    # rearranges is twice and four times that (measured: 57,600 page faults a step).
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    library.mallopt(_TOP_PAD, 64 * 2**20)
    # One arena: memory freed by one thread serves the others.
    library.mallopt(_ARENA_MAX, 1)
    return True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up.

    torch has a class for it on a GPU; on a CPU it raises a RuntimeError that only its text tells
    apart.
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
    """Say of what runs out of memory inside which options of the run would need less.

    Raises:
        MemoryFault: it did.
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
    """What of a run's options would need less memory, with the values they have now."""
    data, run, optimizer = config.data, config.run, config.optimizer.kind
    smaller = [
        f'"{kind.name}"' for kind in optimizer_kinds() if kind.state_bytes < optimizer.state_bytes
    ]
    advice = [
        (not run.gradient_checkpointing, "gradient_checkpointing = true"),
        (data.train_batch_size > 1, f"train_batch_size below {data.train_batch_size}"),
        (
            run.mixed_precision == "no" and run.device != "cpu",
            'mixed_precision = "bf16" on a GPU',
        ),
        (bool(smaller), "optimizer_type = " + " or ".join(smaller)),
        (True, f"resolution below {data.resolution}"),
        (True, f"network_dim below {config.network.network_dim}"),
    ]
    return "try, in this order: " + "; ".join(text for useful, text in advice if useful)

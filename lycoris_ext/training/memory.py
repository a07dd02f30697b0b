"""Keep freed memory in the process instead of giving it back to the system after every operation.

glibc returns each large block at once and fetches it again for the next tensor; clearing those
pages anew took more than half of all processor time in a training step on CPU (270,000 page faults
a second, measured).
"""

from __future__ import annotations

import ctypes
import sys

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

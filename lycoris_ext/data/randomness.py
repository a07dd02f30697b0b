"""Random numbers as a function of what they are for, never of how often a generator was called.

Every random decision of a run (order of pictures, caption shuffling, noise, timesteps, dropouts)
takes a fresh generator seeded by ``derive_seed(seed, purpose, *counters)``. A run that is stopped
and continued, or read by any number of loader workers, therefore sees exactly the same numbers.
"""

from __future__ import annotations

import hashlib
import random

import torch


def derive_seed(seed: int, purpose: str, *counters: int) -> int:
    """Hash a run's seed, a purpose and some counters to one seed.

    BLAKE2b over the text ``"{seed}/{purpose}/{counter}/..."`` in UTF-8, first 8 bytes
    little-endian, top bit cleared. The text form is part of the promise that a seed means the same
    pictures in every version.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for, such as ``"noise"``.
        *counters: step, epoch, sample id and the like, in an order fixed per purpose.

    Returns:
        An integer in [0, 2**63).
    """
    text = "/".join([str(int(seed)), purpose, *(str(int(counter)) for counter in counters)])
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def python_random(seed: int, purpose: str, *counters: int) -> random.Random:
    """A ``random.Random`` for one purpose and one set of counters."""
    return random.Random(derive_seed(seed, purpose, *counters))


def torch_generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """A CPU ``torch.Generator`` for one purpose and one set of counters.

    Always on the CPU: the same numbers then come out whatever device the run uses.
    """
    generator = torch.Generator(device="cpu")
    generator.manual_seed(derive_seed(seed, purpose, *counters))
    return generator

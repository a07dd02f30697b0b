"""Random numbers that depend on what they are for, never on how often a generator was called.

Every random decision of a run (order of pictures, caption shuffling, noise, timesteps, dropouts)
takes a fresh generator seeded by ``derive_seed(seed, purpose, *counters)``. A resumed run, and one
with any number of loader workers, therefore gets exactly the same numbers.
"""

from __future__ import annotations

import hashlib
import random

import torch


def derive_seed(seed: int, purpose: str, *counters: int) -> int:
    """Hash a run's seed, a purpose and some counters into the seed of one generator.

    The hash is BLAKE2b with a digest of 8 bytes (a longer digest that is cut differs), over the
    text ``"{seed}/{purpose}/{counter}/..."`` in UTF-8 without a slash at its end. It is read as a
    little-endian number and shifted right by one bit. None of this may ever change, because a seed
    has to mean the same pictures in every version.

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
    """Make a ``random.Random``; the arguments are those of ``derive_seed``."""
    return random.Random(derive_seed(seed, purpose, *counters))


def torch_generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """Make a ``torch.Generator``; the arguments are those of ``derive_seed``.

    It is always on the CPU, so that the numbers are the same whatever device the run uses.
    """
    generator = torch.Generator(device="cpu")
    generator.manual_seed(derive_seed(seed, purpose, *counters))
    return generator

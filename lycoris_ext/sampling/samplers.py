"""Samplers under the names that AUTOMATIC1111 gives them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from lycoris_ext.errors import ConfigError

#: Name -> diffusers class and the options in which it differs from the base model's own schedule.
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Euler": ("EulerDiscreteScheduler", {"timestep_spacing": "linspace"}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "linspace"}),
    "DDIM": (
        "DDIMScheduler",
        {
            "timestep_spacing": "leading",
            "steps_offset": 1,
            "clip_sample": False,
            "set_alpha_to_one": False,
        },
    ),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {"timestep_spacing": "linspace"}),
    "DPM++ 2M Karras": (
        "DPMSolverMultistepScheduler",
        {"timestep_spacing": "linspace", "use_karras_sigmas": True},
    ),
}

_SCHEDULE_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
)


def canonical_sampler(name: str) -> str:
    """Return the sampler's name in its usual spelling; case does not matter.

    Raises:
        ConfigError: there is no such sampler; the message gives the nearest and all names.
    """
    by_lower = {known.lower(): known for known in SAMPLERS}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    hint = f"did you mean {by_lower[near[0]]!r}? " if near else ""
    raise ConfigError(
        f"there is no sampler {name!r}", where="sampler", fix=f"{hint}known: {', '.join(SAMPLERS)}"
    )


def build_sampler(name: str, schedule_config: Mapping[str, Any], steps: int) -> Any:
    """Build a fresh diffusers scheduler for one batch; it keeps state, so it is used once.

    Args:
        name: a name of `SAMPLERS`.
        schedule_config: the base model's scheduler_config.json; only its noise is taken from it.
        steps: denoising steps.
    """
    import diffusers

    class_name, options = SAMPLERS[name]
    schedule = {key: schedule_config[key] for key in _SCHEDULE_KEYS if key in schedule_config}
    with warnings.catch_warnings():
        # diffusers hands tensors to numpy in a way that numpy 2 frowns on; nobody here can mend it.
        warnings.simplefilter("ignore", DeprecationWarning)
        sampler = getattr(diffusers, class_name)(**schedule, **options)
        sampler.set_timesteps(steps)
    return sampler

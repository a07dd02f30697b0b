"""Build diffusers schedulers from the sampler names of AUTOMATIC1111 and sd-scripts."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.words import count

_LINSPACE = {"timestep_spacing": "linspace"}
_KARRAS = {**_LINSPACE, "use_karras_sigmas": True}
_SDE = {"algorithm_type": "sde-dpmsolver++"}
_FIRST_DPM = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
_LEADING = {"timestep_spacing": "leading", "steps_offset": 1}

#: Name -> diffusers class and the options in which it differs from the base model's own schedule.
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Euler": ("EulerDiscreteScheduler", _LINSPACE),
    "Euler a": ("EulerAncestralDiscreteScheduler", _LINSPACE),
    "Heun": ("HeunDiscreteScheduler", _LINSPACE),
    "LMS": ("LMSDiscreteScheduler", _LINSPACE),
    "LMS Karras": ("LMSDiscreteScheduler", _KARRAS),
    "DPM2": ("KDPM2DiscreteScheduler", _LINSPACE),
    "DPM2 Karras": ("KDPM2DiscreteScheduler", _KARRAS),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", _LINSPACE),
    "DPM2 a Karras": ("KDPM2AncestralDiscreteScheduler", _KARRAS),
    "DPM++ 2S": ("DPMSolverSinglestepScheduler", {"lower_order_final": True}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", _LINSPACE),
    "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", _KARRAS),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", {**_LINSPACE, **_SDE}),
    "DPM++ 2M SDE Karras": ("DPMSolverMultistepScheduler", {**_KARRAS, **_SDE}),
    "DPM-Solver": ("DPMSolverMultistepScheduler", {**_LINSPACE, **_FIRST_DPM}),
    "UniPC": ("UniPCMultistepScheduler", _LINSPACE),
    "PLMS": ("PNDMScheduler", {**_LEADING, "skip_prk_steps": True}),
    "DDIM": ("DDIMScheduler", {**_LEADING, "clip_sample": False, "set_alpha_to_one": False}),
    "DDPM": ("DDPMScheduler", {**_LEADING, "clip_sample": False}),
}

#: sd-scripts' name -> ours; of several for one sampler the first is the usual one.
SD_SCRIPTS = {
    "ddim": "DDIM",
    "pndm": "PLMS",
    "lms": "LMS",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm_2": "DPM2",
    "dpm_2_a": "DPM2 a",
    "dpmsolver": "DPM-Solver",
    "dpmsolver++": "DPM++ 2M",
    "dpmsingle": "DPM++ 2S",
    "k_lms": "LMS",
    "k_euler": "Euler",
    "k_euler_a": "Euler a",
    "k_dpm_2": "DPM2",
    "k_dpm_2_a": "DPM2 a",
}

_ZERO_SNR = "rescale_betas_zero_snr"
_SCHEDULE_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
)


def canonical_sampler(name: str) -> str:
    """Turn a sampler's name, AUTOMATIC1111's in any case or sd-scripts', into AUTOMATIC1111's.

    Raises:
        ConfigError: there is no such sampler; the message lists all names and the most similar.
    """
    by_lower = {known.lower(): known for known in SAMPLERS} | SD_SCRIPTS
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    hint = f"did you mean {by_lower[near[0]]!r}? " if near else ""
    raise ConfigError(
        f"there is no sampler {name!r}", where="sampler", fix=f"{hint}known: {', '.join(SAMPLERS)}"
    )


def build_sampler(name: str, schedule_config: Mapping[str, Any], steps: int) -> Any:
    """Build a diffusers scheduler for one batch. It has state, so use it for one batch only.

    Args:
        name: a key of `SAMPLERS`.
        schedule_config: the base model's scheduler_config.json; only the noise schedule and the
            prediction type are taken from it.
        steps: number of denoising steps.

    Raises:
        ConfigError: the model has zero terminal SNR, and this sampler cannot start from pure
            noise; or it cannot take as many steps.
        EnvironmentFault: diffusers needs another package for this sampler.
    """
    import diffusers

    class_name, options = SAMPLERS[name]
    kind = getattr(diffusers, class_name)
    schedule = {key: schedule_config[key] for key in _SCHEDULE_KEYS if key in schedule_config}
    if schedule_config.get(_ZERO_SNR):
        schedule[_ZERO_SNR] = True
        # Only this spacing begins at the last timestep (Lin et al. 2023, arXiv:2305.08891, 3.3).
        options = {**options, "timestep_spacing": "trailing"}
        if _ZERO_SNR not in inspect.signature(kind).parameters:
            raise ConfigError(
                f"{name} cannot draw with zero terminal SNR", where="sampler", fix="use Euler"
            )
    with warnings.catch_warnings():
        # diffusers converts tensors in a way that numpy 2 warns about, and warns itself of what its
        # version 1 will not have; users cannot change that.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        try:
            sampler = kind(**schedule, **options)
        except ImportError as error:
            raise EnvironmentFault(
                " ".join(str(error).split()),
                where=f"sampler {name}",
                fix="install that package, or use another sampler, such as Euler",
            ) from error
        try:
            sampler.set_timesteps(steps)
        except ValueError as error:
            trained = schedule.get("num_train_timesteps", 1000)
            raise ConfigError(
                f"{name} cannot draw with {count(steps, 'step')} of a model that was trained with "
                f"{trained}",
                where="steps",
                fix="use fewer steps, or another sampler, such as Euler",
            ) from error
    return sampler


def step_arguments(sampler: Any, generators: object) -> dict[str, object]:
    """Return extra keyword arguments for a scheduler's step(): the generators, if it uses any."""
    wanted = inspect.signature(sampler.step).parameters
    return {"generator": generators} if "generator" in wanted else {}

"""The settings that AUTOMATIC1111 and Forge have beyond those of every program.

An axis of a grid is one entry of `HOST_AXES`. The host's modules are imported inside functions,
because they exist only inside the host.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lycoris_ext.errors import ConfigError
from lycoris_ext.grids.axes import AXES, Axis, Changes, extra
from lycoris_ext.grids.settings import Settings

_HASH = re.compile(r" \[[0-9a-f]{10}\]$")
_HIRES = re.compile(r"(\d+(?:\.\d+)?)(?:\s+(\S.*?))??(?:\s+((?:0?\.\d+)|0|1(?:\.0)?))?")

#: The host's form goes to 4. Larger pictures end the host for want of memory, whatever the card.
_LARGEST_SCALE = 8


@dataclass(frozen=True)
class HostAxis:
    """A setting of the host's own.

    Args:
        axis: its name, title and values.
        choices: asks the host for its values; None if this version of the host has no such
            setting, and [] if they cannot be listed.
        put: turns a value into names of the host's options or of its task's arguments -> values.
        missing: what to do on a host without it.
    """

    axis: Axis
    choices: Callable[[], list[str] | None]
    put: Callable[[str], dict[str, Any]]
    missing: str = "leave it out"


def task_arguments(settings: Settings) -> dict[str, Any]:
    """Return the host's options and arguments that the extra settings stand for."""
    known = {each.axis.name: each for each in HOST_AXES}
    settings.refuse_extra(*known)
    return {k: v for name, value in settings.extra for k, v in known[name].put(str(value)).items()}


def without_hash(title: str) -> str:
    """Return the name in a title such as "name.safetensors [0123456789]"."""
    return _HASH.sub("", title)


# Scheduler


def _schedulers() -> list[str] | None:
    try:
        from modules import sd_schedulers
    except ImportError:
        return None
    return [scheduler.label for scheduler in sd_schedulers.schedulers]


# VAE


def vae_files() -> dict[str, Path]:
    """Return the name and file of each VAE that the host lists."""
    main_entry = _main_entry()
    if main_entry is None:
        from modules import sd_vae

        return {name: Path(file) for name, file in sd_vae.vae_dict.items()}
    if not main_entry.module_list:
        main_entry.refresh_models()
    return {
        name: Path(file)
        for name, file in main_entry.module_list.items()
        if not _is_text_encoder(file)
    }


def additional_modules() -> list[str]:
    """Return the files of VAEs and text encoders that are chosen in Forge; [] elsewhere."""
    from modules import shared

    return [*(getattr(shared.opts, "forge_additional_modules", None) or [])]


def _main_entry() -> Any:
    """Return Forge's module that loads VAEs and text encoders; None in AUTOMATIC1111."""
    try:
        from modules_forge import main_entry
    except ImportError:
        return None
    return main_entry if hasattr(main_entry, "module_list") else None


def _is_text_encoder(file: str) -> bool:
    return "text_encoder" in Path(file).parts


def _vaes() -> list[str] | None:
    return ["None", *vae_files()]


def _put_vae(title: str) -> dict[str, Any]:
    name = without_hash(title)
    if _main_entry() is None:
        return {"sd_vae": name}
    others = [file for file in additional_modules() if _is_text_encoder(file)]
    files = vae_files()
    if name not in ("None", *files):
        raise ConfigError(f"Forge lists no VAE {name!r} any more", where="vae", fix="put it back")
    own = [] if name == "None" else [str(files[name])]
    return {"forge_additional_modules": own + others}


# Hires fix


def _upscalers() -> list[str] | None:
    from modules import shared

    return [*shared.latent_upscale_modes, *(each.name for each in shared.sd_upscalers)]


def _read_hires(text: str) -> Changes | None:
    if text in ("off", "none", "1"):
        return {}
    found = _HIRES.fullmatch(text)
    return {"hires_fix": text} if found and 1 <= float(found[1]) <= _LARGEST_SCALE else None


def hires_upscaler(text: str) -> str:
    """Return the upscaler's name in a value of "hires_fix"."""
    found = _HIRES.fullmatch(text)
    return (found and found[2]) or "Latent"


def _put_hires(text: str) -> dict[str, Any]:
    found = _HIRES.fullmatch(text)
    assert found is not None, "the axis refuses other texts"
    return {
        "enable_hr": True,
        "hr_scale": float(found[1]),
        "hr_upscaler": found[2] or "Latent",
        "denoising_strength": float(found[3] or 0.7),
        # Forge alone: without these it draws the second pass at CFG 1, or fails.
        "hr_cfg": None,
        "hr_additional_modules": ["Use same choices"],
    }


HOST_AXES = (
    HostAxis(
        Axis("scheduler", "Schedule type", "name of the host's scheduler", extra("scheduler")),
        _schedulers,
        lambda name: {"scheduler": name},
        "take a sampler that has it in its name, such as DPM++ 2M Karras, or AUTOMATIC1111 1.9",
    ),
    HostAxis(
        Axis("vae", "VAE", 'file name of a VAE; "None" is the one in the checkpoint', extra("vae")),
        _vaes,
        _put_vae,
    ),
    HostAxis(
        Axis(
            "hires_fix",
            "Hires fix",
            'scale from 1 to 8, upscaler and denoising strength, such as "2 Latent 0.7"; "off" '
            "draws without",
            _read_hires,
        ),
        _upscalers,
        _put_hires,
    ),
)
"""The axes of AUTOMATIC1111 and Forge."""

ALL_AXES: Mapping[str, Axis] = {axis.name: axis for axis in (*AXES, *(h.axis for h in HOST_AXES))}

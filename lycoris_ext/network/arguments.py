"""Checks of what build_network and load_network are called with."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import get_args

from torch import nn

from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.formats.families import TARGETS
from lycoris_ext.formats.keys import DENOISER

_KNOWN = (*TARGETS, DENOISER)
# Takes "UNet2", "text_encoders" and "TextEncoder" for slips, but not "my_unet", "net" or "encoder".
_NEAR = 0.86


def check_targets(targets: object) -> None:
    """Refuse anything but named models, and names that are nearly those of known models.

    Raises:
        ConfigError: all faults at once.
    """
    if isinstance(targets, nn.Module):
        raise ConfigError(
            f"{_described(targets)} is handed over without a name",
            where="targets",
            fix='write {"unet": model} for a U-Net, {"text_encoder": model} for a text encoder, '
            '{"model": model} for any other model',
        )
    if not isinstance(targets, Mapping):
        parts = [name for name in TARGETS if isinstance(getattr(targets, name, None), nn.Module)]
        named = ", ".join(f'"{name}": pipeline.{name}' for name in parts) or '"unet": model'
        raise ConfigError(
            f"{_described(targets)} is no dict of models by their names",
            where="targets",
            fix=f"write {{{named}}}",
        )
    if not targets:
        raise ConfigError("no model is given", where="targets", fix='write {"unet": model}')
    faults = Faults()
    for name, model in targets.items():
        with faults:
            _check_name(name)
            if not isinstance(model, nn.Module):
                raise ConfigError(
                    f"{_described(model)} is no torch module",
                    where=f"targets, {name!r}",
                    fix="load the model first, or leave this name out",
                )
    faults.raise_all()


def check_type(value: object, wanted: type | UnionType, where: str, fix: str) -> None:
    """Refuse an argument of another class than these.

    Raises:
        ConfigError: with ``where`` and ``fix``.
    """
    if not isinstance(value, wanted):
        names = " or ".join(kind.__name__ for kind in get_args(wanted) or (wanted,))
        raise ConfigError(f"{_described(value)} is no {names}", where=where, fix=fix)


def check_ending(path: Path | str) -> None:
    """Refuse a file name that promises another format than safetensors.

    Raises:
        ConfigError: the name does not end in .safetensors.
    """
    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        stem = path.stem if path.suffix in (".pt", ".pth", ".bin", ".ckpt") else path.name
        raise ConfigError(
            "adapters are written as safetensors files, which hosts know by their ending",
            where=str(path),
            fix=f"name it {stem}.safetensors",
        )


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"{name!r} is no name of a model", where="targets", fix='use a text such as "unet"'
        )
    if name in _KNOWN:
        return
    lower = name.lower()
    near = get_close_matches(lower, _KNOWN, n=1, cutoff=_NEAR)
    if near:
        raise ConfigError(
            f"the model is named {name!r}; under any other name than {near[0]!r} its layers get "
            "the keys of a plain module, which hosts do not look for",
            where="targets",
            fix=f"write {near[0]!r}, or choose a name that is less like it",
        )


def _described(value: object) -> str:
    return "None" if value is None else type(value).__name__

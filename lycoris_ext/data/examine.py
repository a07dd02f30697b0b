"""Examine a data set before training: read folders and captions, decode pictures, ask all rules."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from lycoris_ext.data.augment import usual_crop
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.findings import Finding, raise_if_errors
from lycoris_ext.data.pictures import check_mask, check_picture, quiet_pillow
from lycoris_ext.data.rules import all_rules, find_all
from lycoris_ext.data.scan import CheckedPicture, DamagedPicture, Picture, Scan, read_folders
from lycoris_ext.data.token_limit import TokenLimit
from lycoris_ext.errors import ConfigError, DataError

Progress = Callable[[int], object]


def examine(
    config: DataConfig,
    progress: Progress | None = None,
    *,
    open_pictures: bool = True,
    token_limit: TokenLimit | None = None,
    place: Path | None = None,
    seed: int = 0,
) -> Scan:
    """Find everything that is wrong or notable in a data set, and return it instead of raising.

    Args:
        config: folders and options.
        progress: called with the number of pictures checked since the last call.
        open_pictures: decode every picture. If False, only folders and captions are examined.
        token_limit: how many tokens of a caption are read; None does not look for captions that
            are longer.
        place: the folder that was asked for, if it was one: levels of pictures begin there.
        seed: of the run, which draws the pictures that are held out without a validation_seed.

    Returns:
        The pictures, and in `findings` what is wrong or notable.

    Raises:
        ConfigError: no folder of training pictures is given, or ``silence`` names no code.
    """
    scan = replace(read_folders(config, seed), token_limit=token_limit, place=place)
    if open_pictures:
        scan = _check(scan, progress)
    return replace(scan, findings=_not_silenced(find_all(scan), config.silence))


def _not_silenced(findings: tuple[Finding, ...], silence: Sequence[str]) -> tuple[Finding, ...]:
    """Leave out warnings and notes of some codes; errors stay.

    Raises:
        ConfigError: no rule has such a code.
    """
    known = {one.code.name for one in all_rules()}
    unknown = [name for name in silence if name.upper() not in known]
    if unknown:
        raise ConfigError(
            f"there is no code {unknown[0]!r}",
            where="silence",
            fix="lycoris-ext check --list names them all",
        )
    silenced = {name.upper() for name in silence}
    return tuple(one for one in findings if one.severity == "error" or one.code not in silenced)


def scan_folders(config: DataConfig) -> Scan:
    """List pictures and captions without opening the pictures.

    Raises:
        ConfigError: no folder of training pictures is given.
        DataError: something is wrong with folders or captions; one message lists it all.
    """
    scan = examine(config, open_pictures=False)
    raise_if_errors(scan.findings)
    return scan


def _check(scan: Scan, progress: Progress | None) -> Scan:
    """Decode every picture once, in threads; add checked and damaged pictures to the scan."""

    def check(picture: Picture) -> CheckedPicture | DamagedPicture:
        try:
            file = check_picture(picture.path, alpha_mask=picture.subset.alpha_mask)
            mask = check_mask(picture.mask) if picture.mask else None
        except DataError as error:
            is_mask = picture.mask is not None and error.where == str(picture.mask)
            fault = f"its mask {error.where}: {error.what}" if is_mask else error.what
            return DamagedPicture(picture, fault, error.fix or "")
        return CheckedPicture(picture, file, usual_crop(file.size, picture.subset), mask)

    checked: list[CheckedPicture] = []
    damaged: list[DamagedPicture] = []
    with quiet_pillow(), ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for result in pool.map(check, scan.pictures):
            if isinstance(result, DamagedPicture):
                damaged.append(result)
            else:
                checked.append(result)
            if progress is not None:
                progress(1)
    return replace(scan, checked=tuple(checked), damaged=tuple(damaged))

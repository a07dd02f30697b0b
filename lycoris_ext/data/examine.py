"""Examine a data set before training: read folders and captions, decode pictures, ask all rules."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from lycoris_ext.data.augment import usual_crop
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.findings import Finding, raise_if_errors
from lycoris_ext.data.kept_checks import KeptChecks, stamp
from lycoris_ext.data.pictures import Checked, check_mask, check_pictures, quiet_pillow
from lycoris_ext.data.rules import all_rules, find_all
from lycoris_ext.data.scan import CheckedPicture, DamagedPicture, Scan, read_folders
from lycoris_ext.data.token_limit import TokenLimit
from lycoris_ext.errors import ConfigError, DataError

Bar = Callable[[int], AbstractContextManager[Callable[[int], object]]]
"""Shows the progress of so many pictures, for a ``with`` block that gets a function to call with
the number of pictures done since its last call."""
_TOGETHER = 8
"""So many pictures are measured together: less time for each, and the bar still moves."""


def examine(
    config: DataConfig,
    bar: Bar | None = None,
    *,
    open_pictures: bool = True,
    token_limit: TokenLimit | None = None,
    place: Path | None = None,
    seed: int = 0,
    kept: KeptChecks | None = None,
) -> Scan:
    """Find everything that is wrong or notable in a data set, and return it instead of raising.

    Args:
        config: folders and options.
        bar: shows the progress while pictures are decoded.
        open_pictures: decode every picture. If False, only folders and captions are examined.
        token_limit: how many tokens of a caption are read; None does not look for captions that
            are longer.
        place: the folder that was asked for, if it was one: levels of pictures begin there.
        seed: of the run, which draws the pictures that are held out without a validation_seed.
        kept: what earlier checks found out about pictures, which are then not decoded again, and
            where new checks are kept; None: every picture is decoded, and nothing is kept.

    Returns:
        The pictures, and in `findings` what is wrong or notable.

    Raises:
        ConfigError: no folder of training pictures is given, or ``silence`` names no code.
    """
    scan = replace(read_folders(config, seed), token_limit=token_limit, place=place)
    if open_pictures:
        scan = _check(scan, bar or _no_bar, kept or KeptChecks())
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


@contextmanager
def _no_bar(total: int) -> Iterator[Callable[[int], object]]:
    yield lambda done: None


def _check(scan: Scan, bar: Bar, kept: KeptChecks) -> Scan:
    """Decode every picture once, in threads; add checked and damaged pictures to the scan."""
    found = [
        kept.unchanged(picture.path, alpha_mask=picture.subset.alpha_mask)
        for picture in scan.pictures
    ]
    results: list[Checked | DataError | None] = list(found)
    left = [number for number, one in enumerate(found) if one is None]
    blocks = [left[start : start + _TOGETHER] for start in range(0, len(left), _TOGETHER)]

    def check(block: Sequence[int]) -> list[tuple[bytes | None, Checked | DataError]]:
        asked = [
            (one.path, one.subset.alpha_mask) for one in (scan.pictures[number] for number in block)
        ]
        states = [stamp(path) for path, _ in asked]  # before the files are read
        return list(zip(states, check_pictures(asked, kept.known), strict=True))

    try:
        with (
            bar(len(found)) as progress,
            quiet_pillow(),
            ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        ):
            progress(len(found) - len(left))
            for block, checks in zip(blocks, pool.map(check, blocks), strict=True):
                for number, (state, result) in zip(block, checks, strict=True):
                    results[number] = result
                    if isinstance(result, Checked):
                        mask = scan.pictures[number].subset.alpha_mask
                        kept.keep(state, result, alpha_mask=mask)
                progress(len(block))
    finally:  # an interrupted check keeps what it found, too
        kept.close()
    return _with_results(scan, results, _check_masks(scan))


def _check_masks(scan: Scan) -> dict[Path, Checked | DataError]:
    """Decode every mask once, in threads."""

    def check(path: Path) -> Checked | DataError:
        try:
            return check_mask(path)
        except DataError as error:
            return error

    paths = list(dict.fromkeys(one.mask for one in scan.pictures if one.mask))
    with quiet_pillow(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return dict(zip(paths, pool.map(check, paths), strict=True))


def _with_results(
    scan: Scan,
    results: Sequence[Checked | DataError | None],
    masks: Mapping[Path, Checked | DataError],
) -> Scan:
    checked: list[CheckedPicture] = []
    damaged: list[DamagedPicture] = []
    for picture, result in zip(scan.pictures, results, strict=True):
        mask = masks[picture.mask] if picture.mask else None
        if isinstance(result, DataError):
            damaged.append(DamagedPicture(picture, result.what, result.fix or ""))
        elif isinstance(mask, DataError):
            fault = f"its mask {mask.where}: {mask.what}"
            damaged.append(DamagedPicture(picture, fault, mask.fix or ""))
        elif result is not None:
            crop = usual_crop(result.size, picture.subset)
            checked.append(CheckedPicture(picture, result, crop, mask))
    return replace(scan, checked=tuple(checked), damaged=tuple(damaged))

"""`lycoris-ext init FOLDER`: examine a folder of pictures and write a commented config for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from PIL import Image

from lycoris_ext.cli.arguments.init import parser
from lycoris_ext.cli.extra import install_line
from lycoris_ext.cli.new_config import file_name, new_config
from lycoris_ext.config import RECIPES, build_config, read_toml
from lycoris_ext.config.commented import comment
from lycoris_ext.data import DataConfig, Scan, examine, finding_lines, raise_if_errors
from lycoris_ext.data.folders import options_for
from lycoris_ext.data.picture_header import open_image
from lycoris_ext.data.pictures import quiet_pillow
from lycoris_ext.errors import DataError, LycorisExtError
from lycoris_ext.files import expanded
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.toml_text import toml_value
from lycoris_ext.models import ModelConfig
from lycoris_ext.models.config import MINI
from lycoris_ext.models.outline import picture_size_of
from lycoris_ext.printable import printable
from lycoris_ext.training.config import all_options, section_types
from lycoris_ext.words import command, count

DEMO = Path(__file__).with_name("demo.toml")
FROM_DEMO = ("train_batch_size", "learning_rate", "lr_scheduler")
"""Options that the small base wants otherwise than Stable Diffusion; the demo's values suit it."""
STEPS_PER_PICTURE = 100
"""Training steps per picture: a common rule of thumb, limited by FEWEST_STEPS and MOST_STEPS."""
FEWEST_STEPS, MOST_STEPS = 400, 3000
OFTEN_CHANGED = (
    *("network_train_unet_only", "flip_aug", "text_encoder_lr"),
    *("mixed_precision", "gradient_checkpointing", "sample_prompts"),
)
"""Options that stand in every config as comments; with --all, all of them do."""


@dataclass(frozen=True)
class Suggestion:
    """What was found in a folder of pictures, and the settings that follow from it.

    Args:
        settings: option -> value.
        pictures: number of pictures.
        folders: number of folders that hold them.
        without_caption: number of pictures without caption.
        median_side: median of sqrt(width * height) of the pictures, in pixels; 0 if none can be
            read.
        common_tags: the tags with which all captions begin.
    """

    settings: Mapping[str, object]
    pictures: int
    folders: int
    without_caption: int
    median_side: int
    common_tags: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a config for a folder of pictures; return the exit code."""
    options = parser().parse_args(arguments)
    folder, base = expanded(options.folder), options.base or MINI
    output = new_config(options.output, folder.resolve().name)
    found = look_at(folder, base, file_name(output.stem))
    text = write_config(found, output, everything=options.all)
    atomic_write(output, text.encode("utf-8"))
    print(_summary(found))
    if options.base is None:
        other = command("lycoris-ext", "init", options.folder, "--base", "model.safetensors")
        print(
            f'base:    "{MINI}", because no --base was given: a small model for trying things out '
            "that ships with this package and draws simple pictures of 64 pixels\n"
            f"         for a Stable Diffusion model: {other}"
        )
    print(printable(f"written: {output}"))
    return _tell(output)


def _summary(found: Suggestion) -> str:
    settings, size = found.settings, found.settings["resolution"]
    steps, batch = (int(str(settings[n])) for n in ("max_train_steps", "train_batch_size"))
    return (
        f"{count(found.pictures, 'picture')}, suggestion: {count(steps, 'step')} of "
        f"{count(batch, 'picture')}" + ("" if size is None else f" at {size} pixels")
    )


def _tell(output: Path) -> int:
    """Print what `train` will say of the new config, and the commands that come next."""
    from lycoris_ext.training.rehearsal import rehearse

    rehearsal = rehearse(build_config([read_toml(output)]))
    for line in finding_lines(rehearsal.findings):
        print(line)
    for fault in rehearsal.faults:
        print(f"error: {fault}")
    if rehearsal.missing_package:
        what = f"the package {rehearsal.missing_package} is not installed"
        print(f"error: {what}\n  -> {install_line()}")
    train = command("lycoris-ext", "train", output)
    if rehearsal.can_start:
        print(f"train:   {train}")
    else:
        print("training cannot start yet: mend the errors above")
        print(f"check:   {command('lycoris-ext', 'doctor', output)}\nthen:    {train}")
    return 0


def look_at(folder: Path, base: str, name: str) -> Suggestion:
    """Read the captions and sizes of all pictures in a folder, and suggest settings for training.

    Args:
        folder: a folder of pictures, or of <repeats>_<name> folders.
        base: the base model, as for --base.
        name: of the adapter.

    Raises:
        DataError: the folder does not exist, holds no pictures, or has a path that is no text.
    """
    try:
        str(folder.resolve()).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            "the path holds bytes that are no text in UTF-8, so that no config can name it",
            where=str(folder),
            fix="rename the folder",
        ) from error
    place = options_for(folder)
    scan = examine(DataConfig(**place, allow_missing_captions=True), open_pictures=False)
    if not scan.pictures:
        raise_if_errors(scan.findings)
    common = () if scan.without_caption else tuple(_common_tags(scan))
    tuned: dict[str, object] = {**RECIPES["seed-default"], "train_batch_size": 1}
    steps = min(MOST_STEPS, max(FEWEST_STEPS, STEPS_PER_PICTURE * len(scan.pictures)))
    if base == MINI:
        demo = read_toml(DEMO).values
        tuned |= {option: demo[option] for option in FROM_DEMO}
        steps = int(str(demo["max_train_steps"]))
    settings = {
        **tuned,
        **place,
        "pretrained_model_name_or_path": base,
        "resolution": _resolution(base),
        "shuffle_caption": True,
        "keep_tokens": len(common),
        "output_dir": "output",
        "output_name": name,
        "seed": 0,
        "max_train_steps": steps,
        "save_every_n_steps": max(100, steps // 4),
        "sample_every_n_steps": max(100, steps // 4),
    }
    if not find_spec("bitsandbytes"):
        settings["optimizer_type"] = "AdamW"
    return Suggestion(
        settings=settings,
        pictures=len(scan.pictures),
        folders=len({picture.folder for picture in scan.pictures}),
        without_caption=scan.without_caption,
        median_side=_median_side(scan),
        common_tags=common,
    )


def _resolution(base: str) -> int | None:
    """Return the size that a base model was made for; None if the model cannot be read."""
    try:
        return picture_size_of(ModelConfig(pretrained_model_name_or_path=base))
    except LycorisExtError:  # `_tell` prints what is wrong with it
        return None


def _common_tags(scan: Scan) -> Iterator[str]:
    captions = [picture.caption.split(",") for picture in scan.pictures]
    for tags in zip(*captions, strict=False):
        if len({tag.strip() for tag in tags}) > 1:
            return
        yield tags[0].strip()


def _median_side(scan: Scan) -> int:
    sides = []
    with quiet_pillow():
        for picture in scan.pictures:
            try:
                with open_image(picture.path) as opened:
                    sides.append(math.sqrt(opened.width * opened.height))
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue  # `_tell` prints what is wrong with it
    return int(median(sides)) if sides else 0


def write_config(found: Suggestion, output: Path, *, everything: bool) -> str:
    """Return the text of a TOML config: a table for each section, and a comment for each option.

    Args:
        found: what was found in the folder.
        output: where the text will be written, for the command in its heading.
        everything: write all options; otherwise the suggested ones and those often changed.
    """
    lines = list(_heading(found, output, everything=everything))
    options = all_options()
    for section, kind in section_types().items():
        block: list[str] = []
        for name in kind.options():
            value = found.settings.get(name)
            if value is not None:
                block += [*comment(_help(name, found)), f"{name} = {toml_value(value)}", ""]
            elif name in OFTEN_CHANGED or (everything and name != "overwrite"):
                default = options[name].default
                shown = "" if default in (None, "", ()) else toml_value(default)
                block += [*comment(options[name].text), f"# {name} = {shown}".rstrip(), ""]
        if block:
            lines += ["", f"[{section}]", "", *block[:-1]]
    return "\n".join(lines) + "\n"


def _heading(found: Suggestion, output: Path, *, everything: bool) -> Iterator[str]:
    text = f"{count(found.pictures, 'picture')} in {count(found.folders, 'folder')}"
    if found.median_side:
        text += f", about {found.median_side} pixels a side"
    yield from comment(f"{text}.")
    if found.without_caption:
        yield from comment(
            f"{count(found.without_caption, 'has', 'have')} no caption: write a .txt file of the "
            "same name for each, or set allow_missing_captions = true in [data]."
        )
    train = command("lycoris-ext", "train", output)
    if train.isprintable():  # a line break in the name would end the comment
        yield f"# Train with: {train}"
    if not everything:
        yield from comment(
            "These are the options that are changed most often; lycoris-ext init --all writes all "
            "of them, and docs/training.md lists them."
        )


def _help(option: str, found: Suggestion) -> str:
    beginning = ", ".join(found.common_tags)
    special = {
        "pretrained_model_name_or_path": "The base model: Stable Diffusion 1.x, 2.x or XL, as a "
        'file or a diffusers folder. "mini" is a small model that ships with the package, for '
        "trying things out.",
        "max_train_steps": "Number of optimizer steps. Suggested are "
        f"{STEPS_PER_PICTURE} for each picture, but at least {FEWEST_STEPS} and at most "
        f'{MOST_STEPS}; for the base "{MINI}" as many as lycoris-ext demo takes.',
        "keep_tokens": "Number of first tags that are not shuffled."
        + (f" All captions begin with: {beginning}" if beginning else ""),
    }
    return special.get(option) or all_options()[option].help

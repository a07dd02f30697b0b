"""Pictures drawn during training: which, and when."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lycoris_ext.errors import ConfigError, DataError

PROMPT_OPTIONS: dict[str, tuple[str, type]] = {
    "n": ("negative_prompt", str),
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "s": ("steps", int),
    "l": ("cfg_scale", float),
}
"""sd-scripts' options in a prompt line -> the name here and the type."""


@dataclass(frozen=True)
class SampleConfig:
    """Pictures that show how training goes.

    Args:
        sample_every_n_steps: draw the prompts after every so many steps; unset: never.
        sample_at_first: draw them before the first step, too.
        sample_prompts: prompts, or one .txt file with a prompt a line; a prompt may end in
            sd-scripts' options, "a cat --n blurry --w 512 --h 768 --d 1 --s 28 --l 7". Unset: the
            captions of a few training pictures.
        sample_sampler: "Euler", "Euler a", "DDIM", ...
    """

    sample_every_n_steps: int | None = None
    sample_at_first: bool = False
    sample_prompts: tuple[str, ...] = ()
    sample_sampler: str = "Euler"

    def __post_init__(self) -> None:
        if self.sample_every_n_steps is not None and self.sample_every_n_steps < 1:
            raise ConfigError(
                f"sample_every_n_steps is {self.sample_every_n_steps}, expected 1 or more",
                where="sample_every_n_steps",
                fix="leave it out to draw nothing",
            )

    @property
    def wanted(self) -> bool:
        """Whether the run draws pictures at all."""
        return self.sample_every_n_steps is not None or self.sample_at_first


def prompt_lines(prompts: Sequence[str]) -> list[str]:
    """The prompts as given, or the lines of the .txt file that is given instead.

    Raises:
        DataError: the file is missing or not UTF-8.
    """
    if len(prompts) != 1 or not prompts[0].lower().endswith(".txt"):
        return [prompt for prompt in prompts if prompt.strip()]
    path = Path(prompts[0]).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the prompts cannot be read ({error})",
            where=str(path),
            fix="set sample_prompts to a text file in UTF-8, or to a list of prompts",
        ) from error
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def parse_prompt(line: str, *, seed: int, sampler: str) -> dict[str, Any]:
    """Split a prompt line into the fields of a PromptSpec.

    Args:
        line: the prompt, then options such as ``--w 512``.
        seed: for a line without ``--d``.
        sampler: for all lines.

    Raises:
        ConfigError: an option is unknown or its value is not of its type.
    """
    prompt, *options = re.split(r"\s--(?=[A-Za-z])", " " + line.strip())
    fields: dict[str, Any] = {"prompt": prompt.strip(), "seed": seed, "sampler": sampler}
    for option in options:
        key, _, value = option.partition(" ")
        if key not in PROMPT_OPTIONS:
            raise ConfigError(
                f"option --{key} is not supported in a prompt",
                where=line.strip(),
                fix="use " + ", ".join(f"--{known}" for known in PROMPT_OPTIONS),
            )
        name, kind = PROMPT_OPTIONS[key]
        try:
            fields[name] = kind(value.strip())
        except ValueError as error:
            raise ConfigError(
                f"--{key} {value.strip()!r} is no {kind.__name__}",
                where=line.strip(),
                fix=f"give --{key} a number",
            ) from error
    return fields

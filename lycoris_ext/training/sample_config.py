"""Pictures drawn during training: which, and when."""

from __future__ import annotations

from dataclasses import dataclass

from lycoris_ext.options import Section, option


@dataclass(frozen=True, init=False)
class SampleConfig(Section):
    """Pictures that show how training goes."""

    sample_every_n_steps: int | None = option(
        None,
        "Draw the prompts after every so many steps.",
        unset="never",
        low=1,
        fix="leave it out to draw nothing",
        may_change="always",
    )
    sample_every_n_epochs: int | None = option(
        None,
        "Draw the prompts after every so many passes over the data.",
        unset="never",
        low=1,
        fix="leave it out to draw nothing",
        may_change="always",
    )
    sample_at_first: bool = option(
        False, "Draw the prompts before the first step, too.", may_change="always"
    )
    sample_prompts: tuple[str, ...] = option(
        (),
        "Prompts to draw, or one .txt file with a prompt a line; a prompt may end in sd-scripts' "
        'options, "a cat --n blurry --w 512 --h 768 --d 1 --s 28 --l 7 --ss euler_a". Prompt files '
        "of sd-scripts in TOML and JSON are read, too.",
        unset="the captions of a few training pictures",
        may_change="always",
    )
    sample_sampler: str = option(
        "Euler",
        'Sampler to draw with: "Euler", "Euler a", "DPM++ 2M Karras", "DDIM", ..., or one of '
        "sd-scripts' names.",
        may_change="always",
    )

    @property
    def wanted(self) -> bool:
        """Whether the run draws pictures at all."""
        every = self.sample_every_n_steps or self.sample_every_n_epochs
        return every is not None or self.sample_at_first

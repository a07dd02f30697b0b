"""Options of the pictures that are drawn during training."""

from __future__ import annotations

from dataclasses import dataclass

from lycoris_ext.options import Section, option


@dataclass(frozen=True, init=False)
class SampleConfig(Section):
    """Pictures that are drawn during training to show its progress."""

    sample_every_n_steps: int | None = option(
        None,
        "Interval in steps at which pictures of sample_prompts are drawn during training.",
        unset="never",
        low=1,
        fix="leave it out to draw nothing",
        may_change="always",
    )
    sample_every_n_epochs: int | None = option(
        None,
        "Interval in epochs at which pictures of sample_prompts are drawn during training.",
        unset="never",
        low=1,
        fix="leave it out to draw nothing",
        may_change="always",
    )
    sample_at_first: bool = option(
        False,
        "Draw pictures of sample_prompts before the first step, too; works without an interval.",
        may_change="always",
    )
    sample_prompts: tuple[str, ...] = option(
        (),
        "Prompts of the pictures that are drawn during training, or a file with them: .txt with a "
        "prompt in each line, or a TOML or JSON file of sd-scripts. A prompt may end in options as "
        'in sd-scripts: "a cat --n blurry --w 512 --h 768 --d 1 --s 28 --l 7 --ss euler_a". '
        "Pictures are drawn only if sample_every_n_steps, sample_every_n_epochs or sample_at_first "
        "is set.",
        unset="the captions of a few training pictures",
        may_change="always",
    )
    sample_sampler: str = option(
        "Euler",
        "Sampler of the pictures that are drawn during training, under the names of AUTOMATIC1111 "
        '("Euler", "Euler a", "DPM++ 2M Karras", "DDIM", ...) or of sd-scripts.',
        may_change="always",
    )

    @property
    def wanted(self) -> bool:
        """Whether the run draws any pictures."""
        every = self.sample_every_n_steps or self.sample_every_n_epochs
        return every is not None or self.sample_at_first

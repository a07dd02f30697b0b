"""Pictures drawn during training: which, and when."""

from __future__ import annotations

from dataclasses import dataclass

from lycoris_ext.errors import ConfigError


@dataclass(frozen=True)
class SampleConfig:
    """Pictures that show how training goes.

    Args:
        sample_every_n_steps: draw the prompts after every so many steps; unset: never.
        sample_every_n_epochs: the same, counted in passes over the data.
        sample_at_first: draw them before the first step, too.
        sample_prompts: prompts, or one .txt file with a prompt a line; a prompt may end in
            sd-scripts' options, "a cat --n blurry --w 512 --h 768 --d 1 --s 28 --l 7 --ss euler_a".
            sd-scripts' prompt files in TOML and JSON are read, too. Unset: the captions of a few
            training pictures.
        sample_sampler: "Euler", "Euler a", "DPM++ 2M Karras", "DDIM", ..., or sd-scripts' name.
    """

    sample_every_n_steps: int | None = None
    sample_every_n_epochs: int | None = None
    sample_at_first: bool = False
    sample_prompts: tuple[str, ...] = ()
    sample_sampler: str = "Euler"

    def __post_init__(self) -> None:
        for name in ("sample_every_n_steps", "sample_every_n_epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(
                    f"{name} is {value}, expected 1 or more",
                    where=name,
                    fix="leave it out to draw nothing",
                )

    @property
    def wanted(self) -> bool:
        """Whether the run draws pictures at all."""
        every = self.sample_every_n_steps or self.sample_every_n_epochs
        return every is not None or self.sample_at_first

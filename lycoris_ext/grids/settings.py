"""How the pictures of a grid are drawn, in words that every program knows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lycoris_ext.errors import ConfigError, together


@dataclass(frozen=True)
class Settings:
    """How a picture is drawn.

    Args:
        steps: denoising steps.
        cfg_scale: classifier-free guidance; 1 turns it off.
        width, height: in pixels.
        sampler: under the painter's name for it.
        clip_skip: N reads the text encoder's N-th layer from the end.
        extra: what one program has and others lack, as (name, value), such as
            ("scheduler", "karras") in ComfyUI. It decides pictures and is shown like the rest.
    """

    steps: int = 20
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    sampler: str = "Euler"
    clip_skip: int = 1
    extra: tuple[tuple[str, str | int | float | bool], ...] = ()

    def __post_init__(self) -> None:
        for name, low, high in (
            ("steps", 1, 10_000),
            ("cfg_scale", 0, 100),
            ("width", 8, 8192),
            ("height", 8, 8192),
            ("clip_skip", 1, 12),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(
                    f"{name} is {value}", where=name, fix=f"use a number from {low} to {high}"
                )

    def refuse_extra(self, *known: str) -> None:
        """Refuse what a painter would ignore.

        Args:
            known: the names in `extra` that the painter obeys.

        Raises:
            ConfigError: there are others; all of them are named.
        """
        errors = [
            ConfigError(
                f"{name} = {value!r} is no setting of what draws this grid",
                where=name,
                fix="leave it out",
            )
            for name, value in self.extra
            if name not in known
        ]
        if errors:
            raise together(errors)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; without `extra` where there is none, as it was before there was any."""
        content = asdict(self)
        if not self.extra:
            del content["extra"]
        return content


USUAL = Settings()

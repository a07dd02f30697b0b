"""The settings with which a grid's pictures are drawn, under names that suit every host."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from lycoris_ext.errors import ConfigError, together


@dataclass(frozen=True)
class Settings:
    """The settings with which a picture is drawn.

    Args:
        steps: number of denoising steps.
        cfg_scale: scale of classifier-free guidance; 1 turns it off.
        width, height: size of the picture in pixels.
        sampler: name of the sampler in the painter's program.
        clip_skip: N uses the output of the text encoder's N-th layer from the end.
        extra: settings that only one program has, as (name, value) pairs, such as
            ("scheduler", "karras") in ComfyUI.

    Raises:
        ConfigError: a number is out of range.
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

    def having(self, **changes: Any) -> Settings:
        """Return these settings with some changed.

        Args:
            changes: fields -> values; other names are extra settings.

        Raises:
            ConfigError: a number is out of range.
        """
        own = {each.name for each in fields(self)} - {"extra"}
        more = {name: value for name, value in changes.items() if name not in own}
        known = {name: value for name, value in changes.items() if name in own}
        return replace(self, **known, extra=tuple((dict(self.extra) | more).items()))

    def refuse_extra(self, *known: str) -> None:
        """Refuse extra settings that a painter does not know and would ignore.

        Args:
            known: names of extra settings that the painter uses.

        Raises:
            ConfigError: `extra` has other names; the message lists all of them.
        """
        errors = [
            ConfigError(
                f"{name} = {value!r} is no setting of the program that draws this grid",
                where=name,
                fix="leave it out",
            )
            for name, value in self.extra
            if name not in known
        ]
        if errors:
            raise together(errors)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as a dict for JSON and cache keys.

        "extra" is left out if it is empty, so that keys of version 0.1.0 stay valid.
        """
        content = asdict(self)
        if not self.extra:
            del content["extra"]
        return content


USUAL = Settings()

"""From what a person or a program asks for to a plan: the tab and the routes share it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lycoris_ext.errors import ConfigError
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.grids.plan import GridPlan, Settings, Strength
from lycoris_ext.grids.prompt_tests import PromptTest, fill
from lycoris_ext.sampling.prompts import parse_prompt
from lycoris_ext.sampling.specs import check_multiple
from webui_extension.laboratory import Laboratory, entrants

#: Pixels a latent: of other sizes the host draws the next smaller one without a word.
_LATENT = 8


def plan_of(laboratory: Laboratory, asked: dict[str, Any]) -> GridPlan:
    """The plan that a request of `schemas.GRID` means.

    Raises:
        ConfigError: a value is out of range, or nothing is to be drawn.
        DataError: a file is not there, or outside the allowed folders.
    """
    checkpoints = [laboratory.checkpoint(file) for file in asked["files"]]
    tests = [_test(line) for line in asked["prompts"] if line.strip()]
    if asked["tests"]:
        trigger = asked["trigger"] or trigger_of(checkpoints)
        tags = [tag for tag, _ in checkpoints[0].tags()] if checkpoints else []
        tests += fill(asked["tests"], trigger, tags, asked["style"])
    models = [laboratory.host.model_named(name) for name in asked["base_models"] or [""]]
    settings = Settings(
        asked["steps"],
        float(asked["cfg_scale"]),
        asked["width"],
        asked["height"],
        asked["sampler"],
        asked["clip_skip"],
    )
    for name in ("width", "height"):
        check_multiple(name, asked[name], _LATENT, "the host")
    return GridPlan(
        entrants(checkpoints),
        tuple(tests),
        tuple(map(Strength.parse, asked["strengths"])),
        tuple(asked["seeds"]),
        tuple(models),
        tuple(asked["negative_prompts"]) or ("",),
        settings,
    )


def trigger_of(checkpoints: Sequence[Checkpoint]) -> str:
    """The words that call what the first of them learned, as far as its metadata tell."""
    return (
        checkpoints[0].summary.triggers[0]
        if checkpoints and checkpoints[0].summary.triggers
        else ""
    )


def seeds_of(text: str) -> list[int]:
    """Read "1, 2, 5-8".

    Raises:
        ConfigError: it is not that.
    """
    seeds: list[int] = []
    for part in re.split(r"[,\s]+", text.strip()):
        found = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if not 0 <= last - first <= 1000:
            raise ConfigError(
                f"{part!r} is no seed", where="seeds", fix="write numbers, such as 1, 2, 5-8"
            )
        seeds += range(first, last + 1)
    return seeds


def _test(line: str) -> PromptTest:
    fields = parse_prompt(line)
    more = sorted(set(fields) - {"prompt", "negative_prompt"})
    if more:
        raise ConfigError(
            f"a prompt sets its own {', '.join(more)}",
            where=line[:60],
            fix="set it below for the whole grid; --n is the only option here",
        )
    return PromptTest(fields["prompt"], negative_prompt=fields.get("negative_prompt", ""))

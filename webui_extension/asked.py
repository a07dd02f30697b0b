"""From what a person or a program asks for to a plan: the tab and the routes share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lycoris_ext.errors import ConfigError
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.grids.entrants import Entrant, Strength, told_apart
from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.grids.prompt_tests import PromptTest, fill
from lycoris_ext.grids.settings import Settings
from lycoris_ext.sampling.prompts import parse_prompt
from lycoris_ext.sampling.specs import check_multiple
from webui_extension.laboratory import Laboratory

#: Pixels a latent: of other sizes the host draws the next smaller one without a word.
_LATENT = 8
#: The host draws larger seeds as others, without a word.
_MAX_SEED = 2**32 - 1


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
    return GridPlan.crossed(
        told_apart(Entrant(known.name, known.hash, known.path) for known in checkpoints),
        tuple(tests),
        strengths=tuple(map(Strength.parse, asked["strengths"])),
        seeds=tuple(map(_seed, asked["seeds"])),
        base_models=tuple(models),
        negative_prompts=tuple(asked["negative_prompts"]) or ("",),
        settings=settings,
    )


def trigger_of(checkpoints: Sequence[Checkpoint]) -> str:
    """The words that call what the first of them learned, as far as its metadata tell."""
    return (
        checkpoints[0].summary.triggers[0]
        if checkpoints and checkpoints[0].summary.triggers
        else ""
    )


def _seed(seed: int) -> int:
    if seed > _MAX_SEED:
        raise ConfigError(
            f"the seed is {seed}", where="seeds", fix=f"use numbers from 0 to {_MAX_SEED}"
        )
    return seed


def _test(line: str) -> PromptTest:
    fields = parse_prompt(line)
    more = sorted(set(fields) - {"prompt", "negative_prompt"})
    if more:
        raise ConfigError(
            f"a prompt sets its own {', '.join(more)}",
            where=line[:60],
            fix="set it below for the whole grid; --n is the only option here",
        )
    if not fields["prompt"]:
        raise ConfigError(
            "a prompt is empty", where=line[:60], fix="write what is to be seen before --n"
        )
    return PromptTest(fields["prompt"], negative_prompt=fields.get("negative_prompt", ""))

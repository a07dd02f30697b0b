"""Turn the fields of a request, from the tab or from the API, into a grid's plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lycoris_ext.errors import ConfigError
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.grids.entrants import Entrant, Strength, with_unique_names
from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.grids.prompt_tests import PromptTest, fill
from lycoris_ext.grids.settings import Settings
from lycoris_ext.sampling.prompts import parse_prompt
from lycoris_ext.sampling.specs import check_multiple
from webui_extension.laboratory import Laboratory

#: Pixels per latent along a side; the host silently rounds other sizes down.
_LATENT = 8
#: The host silently changes larger seeds.
_MAX_SEED = 2**32 - 1


def plan_of(laboratory: Laboratory, asked: dict[str, Any]) -> GridPlan:
    """Turn the fields of a `schemas.GRID` request into a plan.

    Raises:
        ConfigError: a value is out of range, or the grid would be empty.
        DataError: a file does not exist or lies outside the allowed folders.
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
        with_unique_names(Entrant(known.name, known.hash, known.path) for known in checkpoints),
        tuple(tests),
        strengths=tuple(map(Strength.parse, asked["strengths"])),
        seeds=tuple(map(_seed, asked["seeds"])),
        base_models=tuple(models),
        negative_prompts=tuple(asked["negative_prompts"]) or ("",),
        settings=settings,
    )


def trigger_of(checkpoints: Sequence[Checkpoint]) -> str:
    """Return the trigger words in the first checkpoint's metadata; "" if it has none."""
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
            f"a prompt has options of its own: {', '.join(more)}",
            where=line[:60],
            fix="set them for the whole grid; a prompt may only end in --n NEGATIVE PROMPT",
        )
    if not fields["prompt"]:
        raise ConfigError(
            "a prompt is empty", where=line[:60], fix="write what the picture shows before --n"
        )
    return PromptTest(fields["prompt"], negative_prompt=fields.get("negative_prompt", ""))

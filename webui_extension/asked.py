"""Turn the fields of a request, from the tab or from the API, into a grid's plan."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.grids.axes import Axis, varied
from lycoris_ext.grids.checkpoints import Checkpoint, read_checkpoint
from lycoris_ext.grids.entrants import Entrant, Strength, Use, with_unique_names
from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.grids.prompt_tests import PromptTest, fill
from lycoris_ext.grids.settings import Settings
from lycoris_ext.sampling.prompts import LINE_OPTIONS
from lycoris_ext.sampling.specs import check_multiple
from webui_extension.host_axes import ALL_AXES, HOST_AXES, hires_upscaler
from webui_extension.jobs import Job
from webui_extension.laboratory import Laboratory

#: Pixels per latent along a side; the host silently rounds other sizes down.
_LATENT = 8
#: The host silently changes larger seeds.
_MAX_SEED = 2**32 - 1
#: Characters of a prompt: some thousand words. The host would encode a million for minutes, and
#: cannot be interrupted meanwhile.
MAX_PROMPT = 20_000

#: An option of sd-scripts' in a prompt; other dashes, such as those of "a --big-- cat", are text.
_OPTION = re.compile(rf"\s--({'|'.join(LINE_OPTIONS)})(?=\s|$)", re.IGNORECASE)
_TAG = re.compile(r"<(?:lora|lyco):([^:<>]+)((?::[-+0-9.]+){0,2})>", re.IGNORECASE)


def draw(laboratory: Laboratory, asked: Mapping[str, Any]) -> Job:
    """Start drawing the grid of a `schemas.GRID` request, and keep the request beside it.

    Raises:
        ConfigError, DataError: see `plan_of` and `Laboratory.start`.
    """
    asked = resolved(asked)
    return laboratory.start(plan_of(laboratory, asked), asked)


def resolved(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `schemas.GRID` request with every random seed (-1) drawn, so that it is recorded."""
    seeds = [secrets.randbelow(_MAX_SEED + 1) if seed == -1 else seed for seed in asked["seeds"]]
    return {**asked, "seeds": seeds}


def plan_of(laboratory: Laboratory, asked: Mapping[str, Any]) -> GridPlan:
    """Turn the fields of a `schemas.GRID` request into a plan.

    Raises:
        ConfigError: a value is out of range, or the grid would be empty.
        DataError: a file does not exist or lies outside the allowed folders.
    """
    for text in (*asked["prompts"], *asked["negative_prompts"], asked["trigger"], asked["style"]):
        _check_text(text)
    checkpoints = [laboratory.checkpoint(file) for file in asked["files"]]
    tests = [_test(line) for line in asked["prompts"] if line.strip()]
    if asked["tests"]:
        trigger = asked["trigger"] or trigger_of(checkpoints)
        tags = [tag for tag, _ in checkpoints[0].tags()] if checkpoints else []
        tests += fill(asked["tests"], trigger, tags, asked["style"])
    tests = _styled(laboratory, tests, asked["styles"])
    models = [laboratory.host.model_named(name) for name in asked["base_models"] or [""]]
    for name in ("width", "height"):
        check_multiple(name, asked[name], _LATENT, "the host")
    usual = Settings(width=asked["width"], height=asked["height"])
    settings = varied(usual, [_values(laboratory, axis, asked) for axis in ALL_AXES.values()])
    for known in settings:
        check_multiple("sizes", known.width, _LATENT, "the host")
        check_multiple("sizes", known.height, _LATENT, "the host")
    plan = GridPlan.crossed(
        with_unique_names(Entrant(known.name, known.hash, known.path) for known in checkpoints),
        tuple(tests),
        strengths=tuple(map(Strength.parse, asked["strengths"])),
        seeds=tuple(map(_seed, asked["seeds"])),
        base_models=tuple(models),
        negative_prompts=tuple(asked["negative_prompts"]) or ("",),
        settings=settings,
    )
    return _with_adapters_beside(laboratory, plan)


def _values(
    laboratory: Laboratory, axis: Axis, asked: Mapping[str, Any]
) -> tuple[Axis, Sequence[str]]:
    """Return the texts of an axis' values, which the host must know.

    Raises:
        ConfigError: the host has no such setting, or does not list a value.
    """
    given = asked[axis.name]
    values = given if isinstance(given, list) else [given]
    texts = [value.strip() if isinstance(value, str) else f"{value}" for value in values]
    texts = [text for text in texts if text]
    choices = laboratory.host.choices(axis.name) if texts else []
    if choices is None:
        missing = next((h.missing for h in HOST_AXES if h.axis is axis), "leave it out")
        raise ConfigError("this host has no such setting", where=axis.name, fix=missing)
    faults = Faults()
    for text in texts if choices else ():
        with faults:
            name = text
            if axis.name == "hires_fix":
                name = hires_upscaler(text) if "hires_fix" in axis.parse(text) else choices[0]
            _check_listed(axis.name, name, choices)
    faults.raise_all()
    if axis.name == "vae":
        texts = [laboratory.host.vae_titled(text) for text in texts]
    return axis, texts


def _check_listed(where: str, name: str, choices: Sequence[str]) -> None:
    if name in choices:
        return
    alike = [choice for choice in choices if choice.lower() == name.lower()] or choices
    listed = ", ".join(alike[:40]) + (", ..." if len(alike) > 40 else "")
    raise ConfigError(f"the host has no {name!r:.80}", where=where, fix=f"use: {listed}")


def _styled(
    laboratory: Laboratory, tests: list[PromptTest], names: Sequence[str]
) -> list[PromptTest]:
    """Apply each of the host's styles to each test; "" is none.

    The text is put into the prompt as the host does it, so that the content of a style decides the
    key of its pictures.

    Raises:
        ConfigError: the host has no such style.
    """
    if not names:
        return tests
    known = {"": ("", ""), **laboratory.host.styles()}
    for name in names:
        _check_listed("styles", name, [*known])
    return [
        replace(
            test,
            prompt=_merged(known[name][0], test.prompt),
            negative_prompt=_merged(known[name][1], test.negative_prompt),
            label=f"{test.title}, {name}" if name else test.label,
        )
        for test in tests
        for name in names
    ]


def _merged(style: str, prompt: str) -> str:
    if "{prompt}" in style:
        return style.replace("{prompt}", prompt)
    return ", ".join(part for part in (prompt.strip(), style.strip()) if part)


def _with_adapters_beside(laboratory: Laboratory, plan: GridPlan) -> GridPlan:
    """Take the <lora:...> tags out of the prompts, and draw their rows with those adapters.

    Raises:
        ConfigError: the host has no adapter of that name, or it cannot be used.
    """
    rows = []
    for row in plan.rows:
        found = _TAG.findall(row.test.prompt)
        uses = tuple(_use(laboratory, name.strip(), values) for name, values in found)
        shown = row.test.label or row.test.prompt
        test = replace(row.test, prompt=_TAG.sub("", row.test.prompt).strip())
        if uses:
            test = replace(test, label=_TAG.sub("", shown).strip())
        rows.append(replace(row, test=test, beside=uses))
    return GridPlan(tuple(dict.fromkeys(rows)), plan.columns)


def _use(laboratory: Laboratory, name: str, values: str) -> Use:
    path = laboratory.host.network_named(name)
    if path is None:
        raise ConfigError(
            f"the host has no LoRA {name!r:.80}",
            where="prompts",
            fix="write <lora:NAME:1> with a name from the host's Lora tab, or take it out",
        )
    known = read_checkpoint(path)
    return Use(Entrant(name, known.hash, path), Strength.parse(values.strip(":") or "1"))


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
            f"the seed is {seed}",
            where="seeds",
            fix=f"use numbers from 0 to {_MAX_SEED}, or -1 for a random one",
        )
    return seed


def _check_text(text: str) -> None:
    if len(text) > MAX_PROMPT:
        raise ConfigError(
            f"a prompt has {len(text)} characters",
            where=text[:60],
            fix=f"write at most {MAX_PROMPT}",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"a prompt holds half of a character ({error.reason})",
            where=ascii(text[:60]),
            fix="write it again",
        ) from error


def _test(line: str) -> PromptTest:
    prompt, *options = _OPTION.split(" " + line.strip())
    values = dict(zip((key.lower() for key in options[::2]), options[1::2], strict=True))
    negative = values.pop("n", "").strip()
    if values:
        raise ConfigError(
            "a prompt has options of its own: "
            + ", ".join(sorted(LINE_OPTIONS[key][0] for key in values)),
            where=line[:60],
            fix="set them for the whole grid; a prompt may only end in --n NEGATIVE PROMPT",
        )
    if not prompt.strip():
        raise ConfigError(
            "a prompt is empty", where=line[:60], fix="write what the picture shows before --n"
        )
    return PromptTest(prompt.strip(), negative_prompt=negative)

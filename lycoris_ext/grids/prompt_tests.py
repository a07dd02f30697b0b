"""What a trained adapter is asked, besides what it was trained on.

The tests stand for questions that a comparison of checkpoints has to answer: does the trigger
alone bring the subject back, do tags bend it, does it live without its usual style, can it hold an
object that it was never seen with, does a style reach a subject that it never met?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lycoris_ext.errors import ConfigError

_TAGS_USED = 6


@dataclass(frozen=True)
class PromptTest:
    """One row of a grid.

    Args:
        label: what it is called beside the row; empty: the prompt itself.
        prompt: what is to be seen.
        negative_prompt: what is to be kept away.
    """

    prompt: str
    label: str = ""
    negative_prompt: str = ""

    @property
    def title(self) -> str:
        return self.label or self.prompt or "no prompt"


PROMPT_TESTS: dict[str, PromptTest] = {
    "trigger only": PromptTest("{trigger}", "trigger only"),
    "trigger with tags": PromptTest("{trigger}, {tags}", "trigger with tags"),
    "its style in the negative": PromptTest(
        "{trigger}, {tags}", "{style} in the negative", "{style}"
    ),
    "an object it was never seen with": PromptTest(
        "{trigger}, {tags}, holding an umbrella", "never seen with an umbrella"
    ),
    "style on a foreign subject": PromptTest(
        "a lighthouse by the sea, {trigger}", "style on a foreign subject"
    ),
}
"""By name; {trigger}, {tags} and {style} are filled in by `fill`."""


def fill(
    names: Sequence[str], trigger: str, tags: Sequence[str] = (), style: str = "aniscreen"
) -> list[PromptTest]:
    """The presets of these names, about one adapter.

    Args:
        names: keys of `PROMPT_TESTS`.
        trigger: the words that call what was trained.
        tags: the commonest of its pictures; the trigger and the style among them are left out.
        style: the tag of the pictures' usual style, such as "aniscreen".

    Raises:
        ConfigError: there is no such preset, or no trigger.
    """
    unknown = [name for name in names if name not in PROMPT_TESTS]
    if unknown:
        raise ConfigError(
            f"there is no prompt test {unknown[0]!r}",
            where="prompt tests",
            fix=f"use one of: {', '.join(PROMPT_TESTS)}",
        )
    trigger = trigger.strip().strip(",").strip()
    if names and not trigger:
        raise ConfigError(
            "the tests need the words that call what was trained",
            where="trigger words",
            fix="write them: the metadata of this file do not tell",
        )
    own = {word.strip() for word in trigger.split(",")} | {style}
    others = [tag for tag in tags if tag not in own][:_TAGS_USED]
    known = {"trigger": trigger, "tags": ", ".join(others), "style": style}
    return [
        PromptTest(
            _filled(PROMPT_TESTS[name].prompt, known),
            _filled(PROMPT_TESTS[name].label, known),
            _filled(PROMPT_TESTS[name].negative_prompt, known),
        )
        for name in names
    ]


def _filled(text: str, known: dict[str, str]) -> str:
    # Not str.format: a tag may hold braces.
    for name, value in known.items():
        text = text.replace("{" + name + "}", value)
    return ", ".join(part.strip() for part in text.split(",") if part.strip())

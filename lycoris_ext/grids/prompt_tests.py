"""Built-in prompts that test how well a trained adapter generalises.

They answer what a comparison of checkpoints asks: does the trigger word alone bring the subject
back? Do tags change it? Does it survive without its usual style? Can it hold an object that no
training picture shows? Does a style carry over to a subject that it was not trained on?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lycoris_ext.errors import ConfigError

_TAGS_USED = 6


@dataclass(frozen=True)
class PromptTest:
    """A prompt with its negative prompt; a grid draws it in one row per seed.

    Args:
        prompt: the prompt.
        label: text beside the row; "" shows the prompt.
        negative_prompt: the negative prompt.
    """

    prompt: str
    label: str = ""
    negative_prompt: str = ""

    @property
    def title(self) -> str:
        """The text beside the row: the label, or else the prompt."""
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
"""Name -> test, with the placeholders {trigger}, {tags} and {style}, which `fill` replaces."""


def fill(
    names: Sequence[str], trigger: str, tags: Sequence[str] = (), style: str = "aniscreen"
) -> list[PromptTest]:
    """Return the named built-in tests with their placeholders replaced for one adapter.

    Args:
        names: keys of `PROMPT_TESTS`.
        trigger: the adapter's trigger words.
        tags: tags of its training pictures, most frequent first. The trigger and the style are
            dropped, and at most six others are used.
        style: the tag of the training pictures' style, such as "aniscreen".

    Raises:
        ConfigError: a name is unknown, or the trigger is empty.
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
            "the tests need the words that trigger the adapter",
            where="trigger words",
            fix="write them into this field: the adapter's metadata name none",
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
    # str.format would fail on tags with braces.
    for name, value in known.items():
        text = text.replace("{" + name + "}", value)
    return ", ".join(part.strip() for part in text.split(",") if part.strip())

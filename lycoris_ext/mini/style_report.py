"""Score an adapter that was trained on one style.

It must draw the style, keep the subjects right, and leave the base model's other styles alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lycoris_ext.evaluation.scores import Criterion, Share, at_least, at_most, matches

#: The limits, as shares of the judged pictures.
MOST_BEFORE = 0.15
LEAST_AFTER = 0.70
MOST_SUBJECT_LOSS = 0.10
MOST_SPILL = 0.10


@dataclass(frozen=True)
class StyleSamples:
    """The judges' answers for a set of pictures, and the right answers.

    Args:
        styles, subjects: the style judge's and the subject judge's answer for each picture.
        wanted_styles, wanted_subjects: what each picture's prompt asked for.
    """

    styles: Sequence[str]
    subjects: Sequence[str]
    wanted_styles: Sequence[str]
    wanted_subjects: Sequence[str]


@dataclass(frozen=True)
class StyleReport:
    """Shares of right pictures without and with the adapter; `criteria` compares them with limits.

    Args:
        style_before, style_after: of the prompts for the learned style, the share drawn in that
            style, without and with the adapter.
        subject_in_base_styles: of the prompts for the base model's styles, the share with the
            right subject, without the adapter.
        subject_in_learned_style: of the prompts for the learned style, the share with the right
            subject, with the adapter.
        kept_before, kept_after: of the prompts for the base model's styles, the share drawn in the
            style that is asked for, without and with the adapter.
    """

    style_before: Share
    style_after: Share
    subject_in_base_styles: Share
    subject_in_learned_style: Share
    kept_before: Share
    kept_after: Share

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """All scores with their limits."""
        lost = self.subject_in_base_styles.value - self.subject_in_learned_style.value
        spilled = self.kept_before.value - self.kept_after.value
        return (
            at_most("learned style without the adapter", self.style_before.value, MOST_BEFORE),
            at_least("learned style with the adapter", self.style_after.value, LEAST_AFTER),
            at_most("subjects lost against the base's own styles", lost, MOST_SUBJECT_LOSS),
            at_most("base styles lost to the learned one", spilled, MOST_SPILL),
        )

    @property
    def passed(self) -> bool:
        """Whether all scores keep their limits."""
        return all(criterion.passed for criterion in self.criteria)

    def to_json(self) -> dict[str, Any]:
        """Return shares with counts and intervals, and the criteria, as JSON values."""
        names = self.__dataclass_fields__
        return {
            **{name: getattr(self, name).to_json() for name in names},
            "criteria": [criterion.to_json() for criterion in self.criteria],
            "passed": self.passed,
        }


def score_style(
    learned_before: StyleSamples,
    learned_after: StyleSamples,
    base_before: StyleSamples,
    base_after: StyleSamples,
) -> StyleReport:
    """Turn the judges' answers for four sets of pictures into a report.

    Args:
        learned_before, learned_after: prompts for the learned style, without and with the adapter.
        base_before, base_after: prompts for the base model's styles, without and with the adapter.

    Raises:
        ConfigError: a set is empty, or the numbers of answers and right answers differ.
    """

    def style(samples: StyleSamples) -> Share:
        return matches(samples.styles, samples.wanted_styles)

    def subject(samples: StyleSamples) -> Share:
        return matches(samples.subjects, samples.wanted_subjects)

    return StyleReport(
        style_before=style(learned_before),
        style_after=style(learned_after),
        subject_in_base_styles=subject(base_before),
        subject_in_learned_style=subject(learned_after),
        kept_before=style(base_before),
        kept_after=style(base_after),
    )

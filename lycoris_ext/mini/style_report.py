"""The scores of an adapter that was to learn one style: learned, nothing lost, nothing spilled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lycoris_ext.evaluation.scores import Criterion, Share, at_least, at_most, matches

#: What a learned style must reach, as shares of judged pictures.
MOST_BEFORE = 0.15
LEAST_AFTER = 0.70
MOST_SUBJECT_LOSS = 0.10
MOST_SPILL = 0.10


@dataclass(frozen=True)
class StyleSamples:
    """What two judges say of one set of pictures, and what was asked for.

    Args:
        styles, subjects: the judges' answers, one a picture.
        wanted_styles, wanted_subjects: what the prompts asked for, one a picture.
    """

    styles: Sequence[str]
    subjects: Sequence[str]
    wanted_styles: Sequence[str]
    wanted_subjects: Sequence[str]


@dataclass(frozen=True)
class StyleReport:
    """Shares before and after training; `criteria` holds them against their limits.

    Args:
        style_before, style_after: held-out subjects in the learned style, without and with the
            adapter: share that the judge takes for that style.
        subject_in_base_styles: base-style prompts without the adapter: share whose subject the
            judge names rightly.
        subject_in_learned_style: the same for the learned style, with the adapter.
        kept_before, kept_after: base-style prompts: share drawn in the style they ask for, without
            and with the adapter.
    """

    style_before: Share
    style_after: Share
    subject_in_base_styles: Share
    subject_in_learned_style: Share
    kept_before: Share
    kept_after: Share

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Every figure with its limit."""
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
        """Whether every limit is kept."""
        return all(criterion.passed for criterion in self.criteria)

    def to_json(self) -> dict[str, Any]:
        """Shares with counts and intervals, and the criteria."""
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
    """Score four sets of pictures: prompts of the learned style and of the base's own styles,
    each without and with the adapter.

    Raises:
        ConfigError: a set is empty, or answers and prompts differ in number.
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

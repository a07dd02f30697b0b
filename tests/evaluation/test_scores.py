"""Shares with their intervals, and the verdict whether a style was learned."""

from __future__ import annotations

import json

import pytest

from lycoris_ext.errors import ConfigError
from lycoris_ext.evaluation.scores import Share, at_least, at_most, matches
from lycoris_ext.mini.style_report import StyleSamples, score_style


def test_the_interval_of_a_share_has_the_published_values():
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    assert Share(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert Share(0, 20).interval == pytest.approx((0.0, 0.1611), abs=1e-4)
    low, high = Share(20, 20).interval
    assert (low, high) == pytest.approx((0.8389, 1.0), abs=1e-4)


@pytest.mark.parametrize(("count", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_a_share_above_its_total_below_0_or_of_nothing_is_refused(count, total):
    with pytest.raises(ConfigError, match="is no share"):
        Share(count, total)


def test_matches_counts_the_right_answers():
    assert matches(["a", "b", "a"], "a") == Share(2, 3)
    assert matches(["a", "b", "a"], ["a", "b", "c"]) == Share(2, 3)
    with pytest.raises(ConfigError, match=r"2 answers .* and 1 right"):
        matches(["a", "b"], ["a"])


def test_a_score_exactly_at_its_limit_passes():
    assert at_least("x", 0.7, 0.7).passed
    assert not at_least("x", 0.69, 0.7).passed
    assert at_most("x", 0.9 - 0.8, 0.1).passed, "not failed by binary rounding"
    assert not at_most("x", 0.11, 0.1).passed


def samples(styles, subjects, wanted_styles, wanted_subjects):
    return StyleSamples(styles, subjects, wanted_styles, wanted_subjects)


def report(after="fluent", kept="noto", subject="cat"):
    ten = ["cat"] * 10
    return score_style(
        learned_before=samples(["noto"] * 9 + ["fluent"], ten, ["fluent"] * 10, ten),
        learned_after=samples([after] * 8 + ["noto"] * 2, [subject] * 10, ["fluent"] * 10, ten),
        base_before=samples(["noto"] * 10, ["cat"] * 9 + ["dog"], ["noto"] * 10, ten),
        base_after=samples([kept] * 2 + ["noto"] * 8, ten, ["noto"] * 10, ten),
    )


def test_a_learned_style_passes_every_criterion():
    good = report()
    assert (good.style_before, good.style_after) == (Share(1, 10), Share(8, 10))
    assert (good.subject_in_base_styles, good.subject_in_learned_style) == (
        Share(9, 10),
        Share(10, 10),
    )
    assert good.passed
    content = json.loads(json.dumps(good.to_json()))
    assert content["style_after"]["interval_95"][0] < 0.8 < content["style_after"]["interval_95"][1]
    assert len(content["criteria"]) == 4


@pytest.mark.parametrize(
    "failure", [{"after": "noto"}, {"kept": "fluent"}, {"subject": "dog"}], ids=str
)
def test_each_failure_misses_exactly_one_criterion(failure):
    bad = report(**failure)
    assert not bad.passed
    assert sum(not criterion.passed for criterion in bad.criteria) == 1

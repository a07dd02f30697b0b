"""Whether a trained adapter is good: scores over a judge's answers, curves, verdicts."""

from __future__ import annotations

from lycoris_ext.evaluation.curve import LossPoint, loss_curve, read_losses
from lycoris_ext.evaluation.scores import Criterion, Share, at_least, at_most, matches
from lycoris_ext.evaluation.style import StyleReport, StyleSamples, score_style

__all__ = [
    "Criterion",
    "LossPoint",
    "Share",
    "StyleReport",
    "StyleSamples",
    "at_least",
    "at_most",
    "loss_curve",
    "matches",
    "read_losses",
    "score_style",
]

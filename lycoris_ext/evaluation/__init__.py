"""Scores: shares of a judge's answers, their intervals, and the criteria they are held to."""

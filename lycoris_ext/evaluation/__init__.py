"""Score classifiers' answers: shares with confidence intervals, and limits that they must keep."""

"""The total score of a list of events."""

from poh_holdmetrics._native import calculate_score

__all__ = ["calculate_score"]

"""Analyse finished runs without torch: statistics, gains, curves, breakdowns and verification."""

__all__ = ["bootstrap", "breakdowns", "curves", "gains", "results", "statistics", "verify"]

"""Statistics of finished runs, without torch."""

__all__ = ["bootstrap", "breakdowns", "curves", "gains", "results", "statistics", "verify"]

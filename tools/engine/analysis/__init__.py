"""Analyse finished runs without torch: statistics, gains, curves, breakdowns and verification."""

__all__ = [
    "bootstrap",
    "breakdowns",
    "curves",
    "differences",
    "fidelity",
    "gains",
    "rank_correlation",
    "results",
    "row_faults",
    "statistics",
    "verdicts",
    "verify",
]

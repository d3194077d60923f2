"""Draw the figures of a report with matplotlib, and their labels where they cover nothing."""

__all__ = ["figures", "labels", "plotting", "scatter", "transfer_figure"]

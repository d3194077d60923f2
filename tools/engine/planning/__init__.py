"""Plan a study before anything runs: its costs, and the seeds that a difference takes."""

__all__ = ["announcement", "cost", "plan", "power_analysis", "remaining", "run_table", "status_table"]

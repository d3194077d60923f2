"""What a study costs, and the seeds that a difference takes, before anything runs."""

__all__ = ["cost", "plan", "power_analysis"]

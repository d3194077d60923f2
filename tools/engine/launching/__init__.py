"""Run the nodes of a study on this machine or on Slurm."""

__all__ = ["events", "fork_server", "gains", "local", "preload", "screen", "slurm", "slurm_job", "study_run"]

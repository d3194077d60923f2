"""Run the nodes of a study on this machine or on Slurm."""

__all__ = ["fork_server", "local", "preload", "progress_bar", "slurm", "slurm_job"]

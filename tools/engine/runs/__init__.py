"""List, show and remove the runs of work_dirs/runs, without torch and mmengine."""

__all__ = ["facts", "lines", "removal"]

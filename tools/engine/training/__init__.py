"""Train, test and record one run."""

__all__ = [
    "acceleration",
    "building",
    "checkpoints",
    "deferred_logging",
    "exact_resume",
    "hooks",
    "record",
    "run",
    "runner",
    "seeding",
    "starting",
    "visualizers",
]

"""Train, test and record one run."""

__all__ = [
    "acceleration",
    "checkpoints",
    "deferred_logging",
    "exact_resume",
    "hooks",
    "memory",
    "record",
    "run",
    "runner",
    "seeding",
    "throughput",
    "visualizers",
]

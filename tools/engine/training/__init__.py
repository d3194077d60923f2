"""One run: train, test, record."""

__all__ = [
    "acceleration",
    "deferred_logging",
    "hooks",
    "memory",
    "record",
    "run",
    "runner",
    "seeding",
    "throughput",
    "visualizers",
]

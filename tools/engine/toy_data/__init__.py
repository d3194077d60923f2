"""Generate the synthetic datasets of scale toy."""

__all__ = ["scenes", "writer"]

"""Make smaller copies of datasets, and say in records what was copied."""

__all__ = ["arguments", "making", "recipe", "scales"]
